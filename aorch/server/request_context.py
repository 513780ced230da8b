"""The context of a request: its id, its caller, the fields of its log line, and the services."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web
from msgspec import Struct

from aorch.config.sections import ServeConfig
from aorch.engine.registrations import Registrations
from aorch.engine.supervision import Supervisor
from aorch.engine.waiter import ResponseWaiter
from aorch.ledger.reader_pool import Readers
from aorch.orchestrator import Orchestrator
from aorch.server.authentication import ANONYMOUS, Authenticator, Caller
from aorch.server.limits import ConcurrencyLimit
from aorch.server.long_requests import LongRequests
from aorch.server.repeated_answers import RepeatedAnswers
from aorch.server.unsent_responses import UnsentResponses
from aorch.server.work_dispatcher import WorkDispatcher
from aorch.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    """The services that handlers use. All requests share them."""

    orchestrator: Orchestrator
    registrations: Registrations
    settings: ServeConfig
    authenticator: Authenticator
    concurrency: ConcurrencyLimit
    supervisor: Supervisor
    readers: Readers
    health_readers: Readers
    waiting: ResponseWaiter
    long_requests: LongRequests
    unsent: UnsentResponses
    metrics: Metrics
    repeated: RepeatedAnswers
    dispatcher: WorkDispatcher


class RequestContext(Struct):
    """One request while it is handled. `log_fields` are added to its log line."""

    request_id: str
    services: Services
    caller: Caller = ANONYMOUS
    log_fields: dict[str, Any] = {}


CONTEXT: web.RequestKey[RequestContext] = web.RequestKey("context", RequestContext)
SERVICES: web.AppKey[Services] = web.AppKey("services", Services)


def services_of(request: web.Request) -> Services:
    """Return the services that handle `request`."""
    return request[CONTEXT].services

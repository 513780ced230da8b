"""What goes with a request: its id, who calls, what its line in the log says, and the services that answer it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from aorch.config.settings import ServeConfig
from aorch.engine.supervision import Supervisor
from aorch.engine.waiter import Waiting
from aorch.ledger.reader_pool import Readers
from aorch.orchestrator import Orchestrator
from aorch.server.limits import Gate
from aorch.server.unsent import Unsent

if TYPE_CHECKING:
    from aorch.server.authentication import Access, Caller
    from aorch.server.long_requests import LongRequests


@dataclass(frozen=True, slots=True)
class Services:
    """What answers requests, the same for all of them."""

    orchestrator: Orchestrator
    readers: Readers
    settings: ServeConfig
    access: "Access"
    gate: Gate
    waiting: Waiting
    supervisor: Supervisor
    long_requests: "LongRequests"
    health_readers: Readers
    unsent: Unsent


@dataclass(slots=True)
class Call:
    """A request on its way. `about` is what its line in the log says besides."""

    request_id: str
    caller: "Caller"
    services: Services
    about: dict[str, Any]


CALL: web.RequestKey[Call] = web.RequestKey("call", Call)
SERVICES: web.AppKey[Services] = web.AppKey("services", Services)


def services_of(request: web.Request) -> Services:
    """What answers `request`."""
    return request[CALL].services

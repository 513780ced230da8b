"""Schemas of the service's health and status."""

from typing import Literal

from pydantic import Field

from aorch.server.schemas.agents import AgentForm
from aorch.server.schemas.fields import Body, Json, Moment


class LoopDown(Body):
    """A background loop that has failed and is being restarted."""

    loop: Literal["queue", "recovery", "leases", "rates", "webhooks", "trace", "events", "tokens"]
    since: Moment


class Health(Body):
    """The health of the service and its ledger. `degraded`: a background loop has failed."""

    status: Literal["healthy", "degraded"]
    down: list[LoopDown] = Field(description="The background loops that have failed. The log contains the reasons.")
    service: Literal["aorch"]
    version: str
    timestamp: Moment


class Index(Body):
    """The endpoints of the API, and what the caller may do."""

    service: Literal["aorch"]
    version: str
    endpoints: list[str]
    token_required: bool = Field(description="Whether callers need a token.")
    caller: str | None = Field(description="The name of the token in the request; null without a valid one.")
    scopes: list[Literal["read", "run", "work", "agents", "admin"]] = Field(description="What the caller may do.")
    capabilities: list[str] | None = Field(
        description="The capabilities whose tasks a worker may claim with the token; null: any."
    )


class AgentCounts(Body):
    """The agents and their number by status."""

    total: int
    by_status: dict[str, int]
    registered: list[AgentForm]


class ContractCounts(Body):
    """The number of sessions, and of contracts by status."""

    total_sessions: int
    total_contracts: int
    by_status: dict[str, int]


class ExchangeCounts(Body):
    """The number of exchanges, by status: `interrupted` if the process that ran it died."""

    total: int
    by_status: dict[str, int]


class Integrations(Body):
    """Whether the connected services accept connections."""

    memagent: bool
    trace: bool
    all_healthy: bool = Field(description="Whether all configured services accept connections.")
    details: Json = Field(description="The URL of each service, and the deliveries to Trace.")


class Status(Body):
    """The status of the whole service."""

    orchestrator: Literal["healthy", "degraded"] = Field(description="`degraded` if a background loop has failed.")
    ledger: str
    configuration: str | None
    agents: AgentCounts
    contracts: ContractCounts
    exchanges: ExchangeCounts
    integrations: Integrations

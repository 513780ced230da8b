"""Schemas of the service's health and status."""

from typing import Literal

from pydantic import Field

from aorch.server.schemas.agents import AgentForm
from aorch.server.schemas.fields import Body, Json, Moment


class LoopDown(Body):
    """A background loop that has failed and is being restarted."""

    loop: Literal["queue", "recovery", "webhooks", "trace", "events", "tokens"]
    since: Moment


class Health(Body):
    """The health of the service and its ledger. `degraded`: a background loop has failed."""

    status: Literal["healthy", "degraded"]
    down: list[LoopDown] = Field(description="The background loops that have failed. The log contains the reasons.")
    service: Literal["aorch"]
    version: str
    timestamp: Moment


class Index(Body):
    """The endpoints of the API."""

    service: Literal["aorch"]
    version: str
    endpoints: list[str]


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
    integrations: Integrations

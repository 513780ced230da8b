"""The agents, the status and the statistics of a server."""

from typing import Any

from aorch.client.remote_forms import exchange_query
from aorch.client.server_session import ServerSession, segment
from aorch.ledger.exchanges import ExchangeFilter

MOST_GROUPS = 10_000
"""The most groups of statistics that the server sends."""


class RemoteService(ServerSession):
    """A server as `aorch agents`, `status` and `stats` show it."""

    def agents(self) -> list[dict[str, Any]]:
        """The JSON form of each agent."""
        found: list[dict[str, Any]] = self.get("/v1/agents")["agents"]
        return found

    def agent(self, agent_id: str) -> dict[str, Any]:
        """The JSON form of one agent. Raises NotFound."""
        found: dict[str, Any] = self.get(f"/v1/agents/{segment(agent_id)}")
        return found

    def status(self) -> dict[str, Any]:
        """The status of everything."""
        found: dict[str, Any] = self.get("/v1/status")
        return found

    def statistics(self, by: str, which: ExchangeFilter, limit: int, sort: str | None) -> dict[str, Any]:
        """Groups of exchanges with their figures."""
        asked = {name: value for name, value in exchange_query(which).items() if value is not None}
        if sort is not None:
            asked["sort"] = sort
        found: dict[str, Any] = self.get("/v1/stats", {**asked, "by": by, "limit": min(limit, MOST_GROUPS)})
        return found

"""The registered agents in a registry, which are those in the ledger."""

import msgspec

from aorch import logs
from aorch.agents.base import AgentState, AgentStatus
from aorch.agents.http_endpoint import HttpAgent
from aorch.agents.registered import Lease, Registered
from aorch.agents.registered_endpoint import RegisteredEndpoint, decode
from aorch.agents.registry import Registry
from aorch.clock import now
from aorch.config.settings import Config
from aorch.ledger.agent_rows import AgentRow, AgentRows

LOGGER = logs.ROOT.getChild("agents")


class RegisteredAgents:
    """The agents of `rows` that `registry` has.

    An id and a capability belong to the configuration first, unless `registration.share` names the capability.
    """

    def __init__(self, config: Config, registry: Registry, rows: AgentRows) -> None:
        self._config, self._registry, self._rows = config, registry, rows
        self._known: dict[str, AgentRow] = {}
        self._ended: set[str] = set()
        self._follows = False

    def reload(self) -> None:
        """Bring the registry up to date with the ledger. Raises LedgerError."""
        rows, moment = self._rows.all(), now()
        present = {row.agent_id: row for row in rows}
        for each in list(self._registry):
            if each.lease is not None and each.agent.agent_id not in present:
                self._registry.remove(each.agent.agent_id)
        self._known = {agent_id: row for agent_id, row in self._known.items() if agent_id in present}
        for row in rows:
            before = self._known.get(row.agent_id)
            has_ended = row.has_ended(moment)
            if before != row or has_ended != (row.agent_id in self._ended):
                (self._ended.add if has_ended else self._ended.discard)(row.agent_id)
                self._take(row, before, moment)

    def _take(self, row: AgentRow, before: AgentRow | None, moment: str) -> None:
        self._known[row.agent_id] = row
        registered = self._registry.find(row.agent_id)
        if row.fingerprint is not None and (registered is None or registered.lease is not None):
            registered = self._leased(row, before, registered)
        is_configured = registered is not None and registered.lease is None and row.fingerprint is not None
        if registered is None or is_configured or registered.agent.kind != HttpAgent.kind or registered.agent.discovers:
            return
        status = registered.state and registered.state.status
        if registered.lease is not None and row.has_ended(moment):
            registered.adopt(AgentState(AgentStatus.OFFLINE, ended(row), row.lease_ends_at or ""), held=True)
            if self._follows:
                LOGGER.warning("agent %s: %s", row.agent_id, ended(row))
        elif row.state is not None:
            state = AgentState(AgentStatus(row.state), row.reason, row.since or "")
            registered.adopt(state, held=row.drained_at is not None)
        elif registered.lease is not None:
            registered.held = None
            registered.reset()
        if registered.state is not None and registered.state.status != status:
            self._announce(registered)

    def _announce(self, registered: Registered) -> None:
        """Called after the state of an agent has changed."""

    def _leased(self, row: AgentRow, before: AgentRow | None, registered: Registered | None) -> Registered | None:
        """The agent of that row, which is added to the registry unless its description is the same as `before`."""
        lease = Lease(row.owner, row.lease_ends_at, row.registered_at)
        if registered is not None and before is not None and before.fingerprint == row.fingerprint:
            registered.lease = lease
            return registered
        found = self._rows.find(row.agent_id)
        if found is None or found.document is None:
            return None
        try:
            document = decode(found.document)
        except msgspec.DecodeError as error:
            LOGGER.error("agent %s: the ledger has an invalid description: %s", row.agent_id, error)
            return None
        taken = self._taken([each.name for each in document.capabilities])
        registered = self._registry.add_leased(RegisteredEndpoint(document.without(taken), self._config), lease)
        self._follow_state(registered)
        return registered

    def _follow_state(self, registered: Registered) -> None:
        """Called for each remote agent of the registry."""

    def _taken(self, names: list[str]) -> set[str]:
        """The capabilities among `names` that only configured agents may have."""
        return {
            name
            for name in names
            if name not in self._config.registration.share
            and any(each.lease is None for each in self._registry.with_capability(name))
        }


def ended(row: AgentRow) -> str:
    """Why a registration whose lease has ended takes no tasks."""
    return f"its registration ended at {row.lease_ends_at}: there was no heartbeat for {row.ttl_s:g} s"

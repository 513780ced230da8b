"""The registered agents in a registry, which are those in the ledger."""

import threading

import msgspec

from aorch import logs
from aorch.agents.agent_document import AgentDocument, decode
from aorch.agents.base import Agent, AgentState, AgentStatus
from aorch.agents.registered import Lease, Registered
from aorch.agents.registered_endpoint import RegisteredEndpoint
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
        self._reloading = threading.Lock()
        self.follows = False
        """Whether a service follows the ledger, so that the states of agents come from there."""

    def reload(self) -> None:
        """Bring the registry up to date with the ledger. Any thread may call this. Raises LedgerError."""
        with self._reloading:
            self._reload()

    def _reload(self) -> None:
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
        if registered is None or is_configured or not registered.agent.is_remote or registered.agent.discovers:
            return
        registered.agent.adopt_changes(row.changes)
        if (before.circuit_until if before is not None else None) != row.circuit_until:
            registered.hear_circuit(row.circuit_until, row.circuit_since)
        status = registered.state and registered.state.status
        if registered.lease is not None and row.has_ended(moment):
            registered.adopt(AgentState(AgentStatus.OFFLINE, ended(row), row.lease_ends_at or ""), held=True)
            if self.follows:
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
        registered = self._registry.add_leased(self._agent_of(document), lease)
        self._follow_state(registered)
        return registered

    def _follow_state(self, registered: Registered) -> None:
        """Called for each remote agent of the registry."""

    def _agent_of(self, document: AgentDocument) -> Agent:
        names = document.names()
        taken, shared = self._taken(names), self._shared(names)
        if document.endpoint:
            return RegisteredEndpoint(document, self._config, taken, shared)
        from aorch.agents.registered_mcp import RegisteredMcp  # noqa: PLC0415  only if there is one

        return RegisteredMcp(document, self._config, taken, shared)

    def _taken(self, names: list[str]) -> set[str]:
        """The capabilities among `names` that only configured agents may have."""
        return {name for name in names if name not in self._config.registration.share and self._is_configured(name)}

    def _shared(self, names: list[str]) -> set[str]:
        """The capabilities among `names` that configured agents have, and that registered agents may have too."""
        return {name for name in names if name in self._config.registration.share and self._is_configured(name)}

    def _is_configured(self, capability: str) -> bool:
        return any(each.lease is None for each in self._registry.with_capability(capability))


def ended(row: AgentRow) -> str:
    """Why a registration whose lease has ended takes no tasks."""
    return f"its registration ended at {row.lease_ends_at}: there was no heartbeat for {row.ttl_s:g} s"

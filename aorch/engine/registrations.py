"""Changes to registered agents, and the loop that follows those of other processes."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from aorch import jsonio
from aorch.agents.agent_document import AgentDocument
from aorch.agents.base import AgentStatus
from aorch.agents.mcp_lock import LockedServer
from aorch.agents.registered import Registered
from aorch.agents.registry import Registry
from aorch.clock import now, rfc3339, seconds_until
from aorch.config.settings import Config
from aorch.engine.registered_agents import RegisteredAgents, ended
from aorch.engine.supervision import Turned
from aorch.errors import Conflict, Forbidden, LedgerError, NotFound
from aorch.ledger.agent_rows import AgentChanges, AgentRow
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import ORCHESTRATOR

if TYPE_CHECKING:
    from aorch.agents.registered_mcp import RegisteredMcp

RESERVED = (ORCHESTRATOR, "register")
"""Not agents: the caller of tasks without an agent ID, and a route under /v1/agents."""
MOST_AGENTS = 1000
"""Maximum number of registered agents in a ledger."""
RELOAD_S = 0.5
"""How late a process notices a change by another one."""
LONGEST_SLEEP_S = 60.0
FINISH_S = 1.0
"""How long the end of a command may be delayed by what it still writes about agents."""
KEPT_S = 86_400.0
"""How long an agent stays in lists after its registration has ended."""


class Registrations(RegisteredAgents):
    """Changes to the registered agents of `ledger`.

    A registered agent belongs to its owner, the id of a token (empty if the server needs none).
    """

    def __init__(self, config: Config, registry: Registry, ledger: Ledger) -> None:
        super().__init__(config, registry, ledger.agents)
        self._ledger = ledger
        self._writing: set[asyncio.Task[None]] = set()
        self.on_change: Callable[[Registered], None] | None = None
        """Called after the state of an agent has changed."""

    async def register(self, document: AgentDocument, ttl_s: float | None, owner: str) -> bool:
        """Add the agent, or replace it if it belongs to `owner`. Returns whether it is new.

        Its lease ends after `ttl_s` (seconds; None: never) unless `heartbeat` renews it. Raises ParametersInvalid, and Conflict
        if the id or a capability is taken; AgentUnreachable if an MCP server cannot list its tools.
        """
        document = await self._checked(document)

        def put(rows: AgentChanges) -> bool:
            before, moment = rows.find(document.agent_id), now()
            is_new = before is None or before.document is None or before.has_ended(moment)
            if before is not None and not is_new and before.owner != owner:
                raise Conflict(
                    f"agent {document.agent_id!r} is registered by another token",
                    "Use another agent_id, or the token that registered it.",
                )
            if is_new and (before is None or before.document is None) and rows.count() >= MOST_AGENTS:
                raise Conflict(f"{MOST_AGENTS:,} agents are registered, which is the maximum", "Deregister some.")
            rows.put(_row(document, ttl_s, owner, moment if before is None or is_new else before.registered_at))
            return is_new

        is_new = await self._ledger.agents.change(put)
        self.reload()
        return is_new

    async def replace(self, document: AgentDocument, ttl_s: float | None, owner: str, *, is_admin: bool) -> None:
        """Replace a registered agent; its owner stays. Raises NotFound, Forbidden, and the errors of `register`."""
        document = await self._checked(document)

        def put(rows: AgentChanges) -> None:
            before = self._owned(rows, document.agent_id, owner, is_admin=is_admin)
            rows.put(_row(document, ttl_s, before.owner, before.registered_at))

        await self._change(put)

    async def remove(self, agent_id: str, owner: str, *, is_admin: bool) -> None:
        """Deregister that agent. Raises NotFound and Forbidden."""

        def remove(rows: AgentChanges) -> None:
            self._owned(rows, agent_id, owner, is_admin=is_admin)
            rows.remove(agent_id)

        await self._change(remove)

    async def heartbeat(self, agent_id: str, owner: str, *, is_admin: bool) -> None:
        """Renew the lease of that agent. Writes only if a third of its time has passed. Raises NotFound and Forbidden."""
        if (registered := self._registry.find(agent_id)) is not None and registered.lease is not None:
            registered.answered_at = now()
        row = self._ledger.agents.find(agent_id)
        if row is not None and row.document is not None and not _needs_renewal(row):
            return self._check_owner(row, owner, is_admin=is_admin)

        def renew(rows: AgentChanges) -> None:
            found = self._owned(rows, agent_id, owner, is_admin=is_admin)
            if found.ttl_s is not None:
                rows.renew(agent_id, _after(found.ttl_s), now())

        return await self._change(renew)

    async def drain(self, agent_id: str, owner: str, *, is_admin: bool) -> None:
        """Send no more tasks to that agent, until it registers again. Raises NotFound and Forbidden."""

        def drain(rows: AgentChanges) -> None:
            if self._owned(rows, agent_id, owner, is_admin=is_admin).drained_at is None:
                rows.drain(agent_id, now(), "it finishes its tasks and takes no new ones, as requested")

        await self._change(drain)

    def check_registered(self, agent_id: str, owner: str, *, is_admin: bool) -> None:
        """Raise NotFound if that agent is not registered, and Forbidden if `owner` may not change it."""
        self._check_row(self._ledger.agents.find(agent_id), agent_id, owner, is_admin=is_admin)

    async def check_now(self, agent_id: str, owner: str, *, is_admin: bool) -> None:
        """Check that agent, and commit its state. Raises NotFound, and Forbidden for a registered agent of another owner."""
        registered = self._registry.get(agent_id)
        if registered.lease is not None:
            self.check_registered(agent_id, owner, is_admin=is_admin)
        await registered.checking(asyncio.get_running_loop())
        await self.write_state(registered)

    async def write_state(self, registered: Registered) -> None:
        """Commit the state of that agent if it differs from the one in the ledger."""
        before = self._known.get(registered.agent.agent_id)
        row = _with_state(before, registered)
        if row is not None:
            if before is None or before.state != row.state:
                self._announce(registered)
            await self._ledger.agents.write_state(row)
            self._known[row.agent_id] = row  # not before: a reload meanwhile would undo the state with the earlier row

    async def write_ended(self) -> None:
        """Commit the state of the agents whose lease has ended."""
        moment = now()
        for agent_id, row in list(self._known.items()):
            if row.has_ended(moment) and row.state != AgentStatus.OFFLINE:
                row = row._replace(state=str(AgentStatus.OFFLINE), reason=ended(row), since=row.lease_ends_at)
                await self._ledger.agents.write_state(row)
                self._known[agent_id] = row

    async def remove_ended(self) -> None:
        """Delete the agents whose lease ended more than KEPT_S ago."""
        moment = _after(-KEPT_S)
        old = [row.agent_id for row in self._known.values() if row.has_ended(moment)]

        def remove(rows: AgentChanges) -> None:
            for agent_id in old:
                rows.remove_ended(agent_id, moment)

        if old:
            await self._change(remove)

    def remote(self) -> list[Registered]:
        """The agents that the watcher checks."""
        return [each for each in self._registry if each.held is None and _is_remote(each)]

    async def _change(self, work: Callable[[AgentChanges], None]) -> None:
        await self._ledger.agents.change(work)
        self.reload()

    def _owned(self, rows: AgentChanges, agent_id: str, owner: str, *, is_admin: bool) -> AgentRow:
        return self._check_row(rows.find(agent_id), agent_id, owner, is_admin=is_admin)

    def _check_row(self, row: AgentRow | None, agent_id: str, owner: str, *, is_admin: bool) -> AgentRow:
        if row is None or row.document is None or row.has_ended(now()):
            self._reject_configured(agent_id)
            hint = "Register it with POST /v1/agents/register."
            raise NotFound(f"agent {agent_id!r} is not registered", hint)
        self._check_owner(row, owner, is_admin=is_admin)
        return row

    @staticmethod
    def _check_owner(row: AgentRow, owner: str, *, is_admin: bool) -> None:
        if row.owner != owner and not is_admin:
            raise Forbidden(
                f"agent {row.agent_id!r} is registered by another token",
                "Send the token that registered it, or one with the scope admin.",
            )

    async def _checked(self, document: AgentDocument) -> AgentDocument:
        """The document; that of an MCP server with the tools that it lists now."""
        document.check(self._config)
        if document.agent_id in RESERVED:
            raise Conflict(f"the agent ID {document.agent_id!r} is reserved", "Use another agent_id.")
        self._reject_configured(document.agent_id)
        if document.mcp:
            from aorch.agents.registered_mcp import RegisteredMcp  # noqa: PLC0415  only for MCP servers

            document = await RegisteredMcp(document, self._config).with_tools()
            document.check_tools()
            document.check_size()
        names = document.names()
        if taken := self._taken(names):
            raise Conflict(
                f"configured agents already have the capability {', '.join(sorted(taken))}",
                "Use another name, or add it to registration.share in aorch.toml.",
            )
        document.check_shared(self._shared(names))
        return document

    def _reject_configured(self, agent_id: str) -> None:
        found = self._registry.find(agent_id)
        if found is not None and found.lease is None:
            raise Conflict(f"agent {agent_id!r} is configured, not registered", "Use another agent_id.")

    async def follow(self, turned: Turned) -> None:
        """Keep the registry up to date until cancelled. A loop for supervision.py."""
        changed, self.follows = asyncio.Event(), True
        for each in self._registry:
            self._follow_circuit(each)
            if _is_remote(each):
                self._follow_state(each)
        with self._ledger.changes.watcher(changed.set, RELOAD_S):
            while True:
                changed.clear()
                self.reload()
                await self.close_removed()
                turned()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.sleep_s()):  # wait_for of Python 3.11 can ignore a cancellation
                        await changed.wait()

    def has_removed(self) -> bool:
        """Whether agents wait for `close_removed`."""
        return self._registry.has_removed()

    async def close_removed(self) -> None:
        """Close the connections of agents that were replaced or removed and have finished their tasks."""
        await self._registry.close_removed()

    def _follow_state(self, registered: Registered) -> None:
        registered.is_watched = self.follows and not registered.agent.discovers
        self._follow_circuit(registered)
        registered.on_state = partial(self._write_soon, registered) if registered.is_watched else None
        if registered.lease is not None and registered.agent.kind == "mcp":
            from aorch.agents.registered_mcp import RegisteredMcp  # noqa: PLC0415  it is imported already

            if isinstance(registered.agent, RegisteredMcp):
                registered.agent.on_tools = partial(self._note_tools, registered.agent)

    def _write_soon(self, registered: Registered) -> None:
        """Commit the state that a task has shown. If the ledger does not accept it, the watcher's next check writes it."""
        self._start(self.write_state(registered))

    def _follow_circuit(self, registered: Registered) -> None:
        if registered.breaker is not None:
            registered.breaker.on_change = partial(self._write_circuit_soon, registered)
            registered.breaker.claim = partial(self._claim_circuit, registered.agent.agent_id)

    def _write_circuit_soon(self, registered: Registered) -> None:
        """Commit that the circuit breaker has opened, lets a task through or has closed."""
        agent_id, breaker = registered.agent.agent_id, registered.breaker
        row = self._known.get(agent_id) or AgentRow(agent_id, None, None, "", now())
        if breaker is not None:
            self._known[agent_id] = row = row._replace(circuit_until=breaker.until, circuit_since=breaker.since)
            self._announce(registered)
            self._start(self._ledger.agents.write_circuit(row))

    async def _claim_circuit(self, agent_id: str, known: str | None, until: str) -> tuple[str, str | None] | None:
        """Commit that this process sends the task that decides about an open circuit. If another process has done so since it was
        `known` until then, return its `until` and `since` instead.
        """

        def claim(rows: AgentChanges) -> tuple[str, str | None] | None:
            moment = now()
            row = rows.find(agent_id) or AgentRow(agent_id, None, None, "", moment)
            if row.circuit_until is not None and row.circuit_until != known and row.circuit_until > moment:
                return row.circuit_until, row.circuit_since
            rows.put_circuit(row._replace(circuit_until=until, circuit_since=row.circuit_since or moment))
            return None

        try:
            return await self._ledger.agents.change(claim)
        except LedgerError:  # a task that decides twice is better than an agent that is never called again
            return None

    def _note_tools(self, agent: "RegisteredMcp", tools: LockedServer) -> None:
        """Commit that the tools of an MCP server have changed."""
        self._start(self._write_tools(agent, tools))

    def _start(self, write: Coroutine[None, None, None]) -> None:
        async def writes() -> None:
            with contextlib.suppress(LedgerError):
                await write

        writing = asyncio.get_running_loop().create_task(writes())
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def finish_writing(self) -> None:
        """Wait until the ledger has the states and tools that tasks of this event loop have shown, at most FINISH_S."""
        loop = asyncio.get_running_loop()
        if writing := [each for each in self._writing if each.get_loop() is loop]:
            await asyncio.wait(writing, timeout=FINISH_S)

    async def _write_tools(self, agent: "RegisteredMcp", tools: LockedServer) -> None:
        row = self._known.get(agent.agent_id)
        if row is None or row.fingerprint is None:
            return
        if (document := agent.accepted(tools)) is None:
            changes = jsonio.encode(tools.changes()) if tools.changes() else None
            return await self._ledger.agents.write_changes(agent.agent_id, row.fingerprint, changes)
        text, fingerprint = document.encode()

        def put(rows: AgentChanges) -> None:
            found = rows.find(agent.agent_id)
            if found is not None and found.fingerprint == row.fingerprint:
                rows.put(found._replace(document=text, fingerprint=fingerprint, changes=None))

        await self._change(put)

    def _announce(self, registered: Registered) -> None:
        if self.on_change is not None:
            self.on_change(registered)

    def sleep_s(self) -> float:
        """The seconds until the next lease ends. One that ended since `reload` has ended now."""
        ends_at = [row.lease_ends_at for row in self._known.values() if row.agent_id not in self._ended]
        left_s = [max(seconds_until(each), 0.0) for each in ends_at if each is not None]
        return min(left_s, default=LONGEST_SLEEP_S) + 0.001


async def write_states(ledger: Ledger, agents: Iterable[Registered]) -> None:
    """Commit the states of those of `agents` that are remote. Raises LedgerError."""
    for each in agents:
        if _is_remote(each):
            row = _with_state(ledger.agents.find(each.agent.agent_id), each)
            if row is not None:
                await ledger.agents.write_state(row)


def _with_state(row: AgentRow | None, registered: Registered) -> AgentRow | None:
    """The row of that agent with its state; None if the row has it already, or must not change."""
    state = registered.state
    if state is None or registered.held is not None or (row is not None and (row.state, row.reason) == state[:2]):
        return None
    if row is None:
        row = AgentRow(registered.agent.agent_id, None, None, "", now())
    return row._replace(state=str(state.status), reason=state.reason, since=state.since or now())


def _is_remote(registered: Registered) -> bool:
    return registered.agent.is_remote and registered.agent.health


def _needs_renewal(row: AgentRow) -> bool:
    if row.ttl_s is None or row.lease_ends_at is None:
        return False
    return seconds_until(row.lease_ends_at) <= row.ttl_s * 2 / 3


def _row(document: AgentDocument, ttl_s: float | None, owner: str, registered_at: str) -> AgentRow:
    text, fingerprint = document.encode()
    lease_ends_at = None if ttl_s is None else _after(ttl_s)
    return AgentRow(document.agent_id, text, fingerprint, owner, registered_at, ttl_s, lease_ends_at)


def _after(seconds: float) -> str:
    return rfc3339(datetime.now(UTC) + timedelta(seconds=seconds))

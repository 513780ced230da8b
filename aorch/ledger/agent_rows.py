"""Reads and writes the table `agents`: registered agents, and the states of agents. The rules are in engine/registrations.py."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from aorch.ledger.database import Connection, Database, statements
from aorch.ledger.writer import Statement, Writer

Result = TypeVar("Result")


class AgentRow(NamedTuple):
    """A row of `agents`; times are RFC 3339. See `AgentEntry` in schema.py."""

    agent_id: str
    document: str | None
    fingerprint: str | None
    owner: str
    registered_at: str
    ttl_s: float | None = None
    lease_ends_at: str | None = None
    drained_at: str | None = None
    state: str | None = None
    reason: str | None = None
    since: str | None = None
    changes: str | None = None
    circuit_until: str | None = None
    circuit_since: str | None = None

    def has_ended(self, moment: str) -> bool:
        """Whether its lease has ended at that moment."""
        return self.lease_ends_at is not None and self.lease_ends_at <= moment


class AgentRows:
    """The rows of the ledger that `database` opens, for reading. Raises LedgerError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[AgentRow]:
        """Every row, by id, without the documents."""
        with self._database.read() as connection:
            found = connection.execute(statements.AGENTS_WITHOUT_DOCUMENTS).fetchall()
        return [AgentRow(row[0], None, *row[1:]) for row in found]

    def find(self, agent_id: str) -> AgentRow | None:
        """The row of that agent, or None."""
        with self._database.read() as connection:
            return _find(connection, agent_id)


class WritableAgentRows(AgentRows):
    """The rows of a ledger that is open for writing. Changes are durable when their method returns."""

    def __init__(self, database: Database, writer: Writer) -> None:
        super().__init__(database)
        self._writer = writer

    async def change(self, work: "Callable[[AgentChanges], Result]") -> Result:
        """Call `work` under the write lock, and commit what it has changed. Nothing is changed if it raises an exception."""
        return await self._writer.work(lambda connection: work(AgentChanges(connection)))

    async def write_state(self, row: AgentRow) -> None:
        """Commit the state of that agent. A registered agent that drains, or that was registered again, keeps its state."""
        if row.fingerprint is None:
            await self._writer.commit((statements.PUT_AGENT_STATE, row))
        else:
            state = (row.state, row.reason, row.since, row.agent_id, row.fingerprint)
            await self._writer.commit((statements.SET_AGENT_STATE, state))

    async def write_changes(self, agent_id: str, fingerprint: str, changes: str | None) -> None:
        """Commit what has changed on that MCP server (a JSON list), unless it was registered again."""
        await self._writer.commit((statements.SET_AGENT_CHANGES, (changes, agent_id, fingerprint)))

    async def write_circuit(self, row: AgentRow) -> None:
        """Commit the circuit breaker of that agent, unless it was registered again."""
        await self._writer.commit(_with_circuit(row))


class AgentChanges:
    """The rows, under the write lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, agent_id: str) -> AgentRow | None:
        """The row of that agent, or None."""
        return _find(self._connection, agent_id)

    def count(self) -> int:
        """The number of registered agents."""
        return int(self._connection.execute(statements.REGISTERED_COUNT).fetchone()[0])

    def put(self, row: AgentRow) -> None:
        """Write `row`; it replaces the row of the same agent."""
        self._connection.execute(statements.PUT_AGENT, row)

    def put_circuit(self, row: AgentRow) -> None:
        """Write the circuit breaker of that agent."""
        self._connection.execute(*_with_circuit(row))

    def renew(self, agent_id: str, ends_at: str, moment: str) -> None:
        """Extend the lease of that agent, unless it has ended at that moment."""
        self._connection.execute(statements.RENEW_LEASE, (ends_at, agent_id, moment))

    def drain(self, agent_id: str, moment: str, reason: str) -> None:
        """Record that the agent takes no more tasks."""
        self._connection.execute(statements.DRAIN_AGENT, (moment, "draining", reason, moment, agent_id))

    def remove(self, agent_id: str) -> None:
        """Delete the row of that agent."""
        self._connection.execute(statements.DELETE_AGENT, (agent_id,))

    def remove_ended(self, agent_id: str, moment: str) -> None:
        """Delete the row of that agent if its lease had ended at that moment."""
        self._connection.execute(statements.DELETE_ENDED_AGENT, (agent_id, moment))


def _find(connection: Connection, agent_id: str) -> AgentRow | None:
    found = connection.execute(statements.ONE_AGENT, (agent_id,)).fetchone()
    return AgentRow(*found) if found else None


def _with_circuit(row: AgentRow) -> Statement:
    if row.fingerprint is None:
        return statements.PUT_AGENT_CIRCUIT, row
    return statements.SET_AGENT_CIRCUIT, (row.circuit_until, row.circuit_since, row.agent_id, row.fingerprint)

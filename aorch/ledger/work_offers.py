"""The agents that workers over HTTP offer, so that tasks can be queued for them although no agent here has the capability."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.ledger.database import Database, statements

MAX_AGE_S = 0.5
"""Maximum age of the known offers (seconds)."""


class Offered(NamedTuple):
    """A capability of an agent that a worker offers. `labels` are those of the agent, of which `version` is one."""

    agent_id: str
    labels: Mapping[str, str]
    description: str
    parameters: dict[str, Any]
    idempotent: bool


class WorkOffers:
    """The offers of all leases of the ledger that `database` opens. Workers with equal offers share one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read_at = float("-inf")
        self._documents: dict[str, list[dict[str, Any]]] = {}
        self._by_capability: dict[str, list[Offered]] = {}
        self._agents: dict[str, frozenset[str]] = {}

    def of(self, capability: str, max_age_s: float = MAX_AGE_S) -> list[Offered]:
        """The offers of that capability, read from the ledger if the known ones are older. Raises LedgerError."""
        if time.monotonic() - self._read_at > max_age_s:
            self._read()
        return self._by_capability.get(capability, [])

    def agents(self, offer_id: str) -> frozenset[str]:
        """The IDs of the agents of an offer. Raises LedgerError."""
        if offer_id not in self._agents:
            self._read()
        return self._agents.get(offer_id, frozenset())

    def _read(self) -> None:
        documents = {}
        with self._database.read() as connection:
            for (offer_id,) in connection.execute(statements.WORK_OFFER_IDS).fetchall():
                known = self._documents.get(offer_id)
                if known is None:
                    row = connection.execute(statements.WORK_OFFER, (offer_id,)).fetchone()
                    known = [] if row is None else jsonio.decode(row[0])
                documents[offer_id] = known
        if documents.keys() != self._documents.keys():
            self._documents, self._by_capability = documents, _by_capability(documents)
            self._agents = {name: frozenset(each["agent_id"] for each in found) for name, found in documents.items()}
        self._read_at = time.monotonic()


def _by_capability(documents: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[Offered]]:
    found: dict[str, list[Offered]] = {}
    for document in documents.values():
        for agent in document:
            for each in agent["capabilities"]:
                offered = Offered(
                    agent["agent_id"], agent["labels"], each["description"], each["parameters"], each["idempotent"]
                )
                found.setdefault(each["name"], []).append(offered)
    return found

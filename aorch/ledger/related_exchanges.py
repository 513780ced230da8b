"""Which exchanges belong to the task of another one, so that they may repeat its content."""

from collections.abc import Iterable, Sequence
from typing import Any

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ledger.contract_metadata import erasure_mark
from aorch.ledger.contract_units import Part, units_of
from aorch.ledger.database import Connection, statements
from aorch.ledger.record import REQUEST, object_in, text_in

BATCH = 1000
"""Exchanges whose units are read at a time."""


def related_to(connection: Connection, request_ids: Iterable[str]) -> list[str]:
    """The exchanges (ids of REQUESTs) that are not among these and not erased, and that these delegated, that delegated them, or
    that are other tries or reruns of the same task; and those that are related to these, and so on.
    """
    related = _Related(connection)
    selected = set(request_ids)
    known, waiting = set(selected), list(selected)
    while waiting:
        found: dict[str, None] = {}
        for start in range(0, len(waiting), BATCH):
            found |= dict.fromkeys(related.next_to(waiting[start : start + BATCH]))
        waiting = [each for each in found if each not in known]
        known.update(waiting)
    return sorted(related.requests - selected)


class _Related:
    """`requests`: those that were read and are not erased."""

    def __init__(self, connection: Connection) -> None:
        self.requests: set[str] = set()
        self._connection = connection
        self._sessions: set[str] = set()
        self._reruns: dict[str, set[str]] = {}

    def next_to(self, request_ids: Sequence[str]) -> list[str]:
        """The REQUESTs in the units of these, and their reruns, or those of which they are reruns."""
        parts = [Part(*row) for row in self._rows(statements.PARTS, jsonio.encode(request_ids))]
        members = [part for unit in units_of(self._rows, parts) for part in unit.parts if part.contract_type == REQUEST]
        self.requests |= {part.contract_id for part in members if erasure_mark(_decoded(part.metadata)) is None}
        self._read_reruns({part.session_id for part in members} - self._sessions)
        return [each for part in members for each in (part.contract_id, *self._reruns.get(part.contract_id, ()))]

    def _read_reruns(self, sessions: set[str]) -> None:
        """A rerun, or a later try, is in the session of what it runs again."""
        self._sessions |= sessions
        for rerun, metadata in self._rows(statements.RERUNS_IN, jsonio.encode(list(sessions))):
            names = _decoded(metadata)
            for original in filter(None, (text_in(names, name) for name in ("rerun_of", "retry_of", "resumes"))):
                self._reruns.setdefault(original, set()).add(rerun)
                self._reruns.setdefault(rerun, set()).add(original)

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()


def _decoded(metadata: str) -> dict[str, Any]:
    try:
        return object_in({"metadata": jsonio.decode(metadata)}, "metadata")
    except InvalidJSON:  # another program wrote it
        return {}

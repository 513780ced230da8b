"""Reading the ledger: pages, one contract, whole exchanges, counts, what is new.

Everything is a select on the one table, so that PostgreSQL can be read the same way. Nothing is written here, but for one
thing: a search for text first lets the full-text index catch up (search.py).
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    Engine,
    Text,
    cast,
    create_engine,
    func,
    literal_column,
    or_,
    pool,
    select,
    type_coerce,
)
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col

from aorch import json
from aorch.errors import NotFound, UsageError
from aorch.ledger import search
from aorch.ledger.contract import Contract, UtcText
from aorch.ledger.database import connect_reading, translated
from aorch.ledger.row import FIELDS, Row
from aorch.ledger.store import COMPLETED, REQUEST

CHUNK, CHUNK_CHARACTERS = 1000, 4_000_000
"""Contracts that a stream holds at a time, and about how much they may say together."""
POLL_S = 0.1
"""How long a follower rests between two looks for something new."""
SHORTEST_PART = 4
"""Characters that a part of an id must have: one of fewer would be anybody's."""
DEEPEST = 64
"""Levels of delegation that an exchange shows."""
MANY_SESSIONS = 10_000
"""From here on reading the whole index is faster than skipping through it: 37 ms for 1,000,000 contracts, 1.8 µs a skip."""

position: ColumnElement[Any] = col(Contract.position)  # type: ignore[assignment]  # Mapped is one, untold


@dataclass(frozen=True, slots=True)
class Filter:
    """Which contracts; what is None lets all pass.

    `agent` is either side of a contract. `since` (inclusive) and `until` (exclusive) are aware moments of `created_at`.
    `text` is words that must all stand in payload, result or error (see search.py).
    """

    session_id: str | None = None
    agent: str | None = None
    contract_type: str | None = None
    capability: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


EVERYTHING = Filter()


@dataclass(slots=True)
class Exchange:
    """A REQUEST, the RESPONSE that answers it, and the exchanges that were made on the REQUEST's behalf, oldest first.

    `request` is None where a RESPONSE names none, or one that is not in the ledger.
    """

    request: Contract | None
    response: Contract | None = None
    children: list["Exchange"] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: `request` and `response` as contracts or null, `children` as a list of the same form."""
        return {
            "request": self.request and self.request.as_dict(),
            "response": self.response and self.response.as_dict(),
            "children": [child.as_dict() for child in self.children],
        }


class Reader:
    """The ledger at `path`, open for reading inside a `with` block; one thread at a time.

    A file that is not there yet reads as an empty ledger and is not made. `progress` hears how far the full-text index
    has come where a search needs it to catch up. Every method raises LedgerError where the file cannot be read.
    """

    def __init__(self, path: Path, progress: search.Progress | None = None) -> None:
        self.path = path
        self._progress = progress
        self._connection: Connection | None = None
        self._engine: Engine | None = None
        self._version: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None and self._connection is not None:
            self._engine.dispose()
            self._connection.close()

    def page(
        self,
        which: Filter = EVERYTHING,
        *,
        limit: int | None = 50,
        newest_first: bool = True,
        before: int | None = None,
        after: int | None = None,
    ) -> list[Contract]:
        """Up to `limit` contracts in the order of their `position`, those before and after a position, both exclusive.

        The cursor of the next page is the `position` of the last contract, as `before` (newest first) or `after`.
        """
        self._ready_for(which)
        return self._contracts(
            _bounded(*_matching(which, Contract), before=before, after=after, newest_first=newest_first).limit(limit)
        )

    def find(self, part: str) -> Contract:
        """The contract of that id, or the one whose id begins or ends so, in capitals or not.

        Raises NotFound where there is none, UsageError where there are several or `part` is too short to tell.
        """
        part = json.storable_text(part)
        contract_id = col(Contract.contract_id)
        exact = self._contracts(select(Contract).where(contract_id.in_((part, part.upper()))))
        if exact:
            return exact[0]
        if len(part) < SHORTEST_PART:
            raise UsageError(f"{part!r} is too short for a part of an id", f"Give {SHORTEST_PART} characters or more.")
        most = 10
        ids = [row[0] for row in self._rows(select(contract_id).where(_begins_or_ends(part.upper())).limit(most + 1))]
        if not ids:
            raise NotFound(f"no contract's id is, begins with or ends with {part!r}", "See `aorch contracts list`.")
        if len(ids) > 1:
            shown = ", ".join(ids[:most]) + (" and more" if len(ids) > most else "")
            raise UsageError(f"{part!r} is part of several ids: {shown}", "Write more of the one that you mean.")
        return self._contracts(select(Contract).where(contract_id == ids[0]))[0]

    def exchange(self, contract: Contract) -> Exchange:
        """The whole exchange that `contract` is part of, with all that was delegated, up to DEEPEST levels down."""
        if contract.contract_type != REQUEST and contract.request_id is None:
            return Exchange(None, contract)
        request_id = contract.contract_id if contract.contract_type == REQUEST else contract.request_id
        found = self._exchanges(self._contracts(select(Contract).where(col(Contract.contract_id) == request_id)))
        if not found:
            return Exchange(None, contract)
        level, seen = found, {request_id}
        for _ in range(DEEPEST):
            parents = {each.request.contract_id: each for each in level if each.request}
            asked = [each for each in self._in(Contract.parent_id, parents) if each.contract_type == REQUEST]
            level = self._exchanges([each for each in asked if each.contract_id not in seen])
            if not level:
                break
            for each in level:
                assert each.request is not None
                seen.add(each.request.contract_id)
                parents[each.request.parent_id or ""].children.append(each)
        return found[0]

    def counts(self) -> dict[str, Any]:
        """`total_contracts`, `total_sessions` and `by_status`, without a look at every row.

        Contracts are never deleted, so the last position is their number; all but the completed ones stand in an index
        of their own; sessions are found by skipping through theirs, or where they are many by reading through it.
        """
        status = col(Contract.status)
        counted = select(status, func.count()).where(status != literal_column(f"'{COMPLETED}'")).group_by(status)
        others: dict[str, int] = dict(self._rows(counted))
        total = self.last_position()
        completed = total - sum(others.values())
        return {
            "total_contracts": total,
            "total_sessions": self._sessions(),
            "by_status": {**({COMPLETED: completed} if completed else {}), **others},
        }

    def _sessions(self) -> int:
        few = self._number(_few_sessions())
        return few if few < MANY_SESSIONS else self._number(select(func.count(col(Contract.session_id).distinct())))

    def last_position(self) -> int:
        """The position of the newest contract; 0 in an empty ledger."""
        return self._number(select(func.max(position)))

    def stream(self, which: Filter = EVERYTHING, progress: search.Progress | None = None) -> Iterator[Row]:
        """Every contract that is there when the stream begins, oldest first, a CHUNK of them in memory at a time.

        Read in short transactions: however slowly it is consumed, no writer and no checkpoint waits for it. `progress`
        hears which position of how many was reached.
        """
        self._ready_for(which)
        last, reached = self.last_position(), 0
        statement, key = _matching(which, position, *_row_columns())
        while reached < last:
            chunk = self._chunk(_bounded(statement, key, before=last + 1, after=reached).limit(CHUNK))
            yield from (row for _, row in chunk)
            reached = chunk[-1][0] if chunk else last
            if progress is not None:
                progress(reached, last)

    def follow(self, which: Filter = EVERYTHING, *, after: int) -> Iterator[Contract]:
        """Every contract after that position, as it is committed, without end. A look costs no write and reads no row."""
        while True:
            if not self.changed():
                time.sleep(POLL_S)
                continue
            while page := self.page(which, limit=CHUNK, newest_first=False, after=after):
                yield from page
                after = page[-1].position or after

    def changed(self) -> bool:
        """Whether anybody committed anything since this was asked last; true at first, once the ledger is there."""
        if self._open() is None or self._connection is None:
            return False
        with translated(self.path):
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        before, self._version = self._version, int(version)
        return before != self._version

    def _ready_for(self, which: Filter) -> None:
        if which.text is not None and self._open() is not None and self._connection is not None:
            search.catch_up(self.path, self._connection, self._progress)

    def _exchanges(self, requests: Sequence[Contract]) -> list[Exchange]:
        answers = {each.request_id: each for each in self._in(Contract.request_id, [r.contract_id for r in requests])}
        return [Exchange(request, answers.get(request.contract_id)) for request in requests]

    def _in(self, column: Any, values: Iterable[str]) -> list[Contract]:
        """The contracts with one of `values` in that column, oldest first."""
        values, found = list(values), []
        for start in range(0, len(values), CHUNK):
            some = select(Contract).where(col(column).in_(values[start : start + CHUNK]))
            found += self._contracts(some.order_by(position))
        return found

    def _contracts(self, statement: search.Statement) -> list[Contract]:
        engine = self._open()
        if engine is None:
            return []
        with self._foreign_errors(), Session(engine) as session:
            return list(session.execute(statement).scalars())

    def _rows(self, statement: search.Statement) -> Sequence[Any]:
        engine = self._open()
        if engine is None:
            return []
        with self._foreign_errors(), engine.connect() as connection:
            return connection.execute(statement).all()

    def _chunk(self, statement: search.Statement) -> list[tuple[int, Row]]:
        engine, chunk, said = self._open(), [], 0
        if engine is None:
            return []
        with self._foreign_errors(), engine.connect() as connection, connection.execute(statement) as found:
            for reached, *columns in found:
                row = Row(*columns)
                chunk.append((reached, row))
                said += len(row.payload) + len(row.result or "")
                if said > CHUNK_CHARACTERS:
                    break
        return chunk

    def _number(self, statement: search.Statement) -> int:
        rows = self._rows(statement)
        return int(rows[0][0] or 0) if rows else 0

    def _open(self) -> Engine | None:
        """The engine over one connection of ours; None as long as the file is not there."""
        if self._engine is None and _is_there(self.path):
            self._connection = connection = connect_reading(self.path)
            connection.execute("PRAGMA query_only = ON")
            self._engine = create_engine(
                "sqlite://",
                creator=lambda: connection,
                poolclass=pool.StaticPool,
                json_deserializer=json.decode,
            )
        return self._engine

    @contextmanager
    def _foreign_errors(self) -> Iterator[None]:
        with translated(self.path):
            try:
                yield
            except DBAPIError as error:
                raise error.orig or error from error


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # there or not, SQLite will say what is wrong
    return True


def _matching(which: Filter, *what: Any) -> tuple[search.Statement, ColumnElement[Any]]:
    """A select of `what`, and the column that its order goes by."""
    statement = select(*what).where(*_conditions(which))
    if which.text is None:
        return statement, position
    return search.narrowed(statement, which.text)


def _conditions(which: Filter) -> Iterator[ColumnElement[bool]]:
    equal = {
        Contract.session_id: which.session_id,
        Contract.contract_type: which.contract_type,
        Contract.capability: which.capability,
        Contract.status: which.status,
    }
    for column, value in equal.items():
        if value is not None:
            yield col(column) == json.storable_text(value)
    if which.status not in (None, COMPLETED):
        # the index on status holds only these rows, and SQLite uses it only where the query says the same, literally
        yield col(Contract.status) != literal_column(f"'{COMPLETED}'")
    if which.agent is not None:
        agent = json.storable_text(which.agent)
        yield or_(col(Contract.from_agent) == agent, col(Contract.to_agent) == agent)
    if which.since is not None:
        yield col(Contract.created_at) >= which.since
    if which.until is not None:
        yield col(Contract.created_at) < which.until


def _bounded(
    statement: search.Statement,
    key: ColumnElement[Any],
    *,
    before: int | None,
    after: int | None,
    newest_first: bool = False,
) -> search.Statement:
    if before is not None:
        statement = statement.where(key < before)
    if after is not None:
        statement = statement.where(key > after)
    return statement.order_by(key.desc() if newest_first else key)


def _begins_or_ends(part: str) -> ColumnElement[bool]:
    """LIKE, which SQLite does not let capitals bother, over the index of ids: 140 ms in 1,000,000 of them."""
    literally = re.sub(r"([%_/])", r"/\1", part)
    contract_id, escape = col(Contract.contract_id), None if literally == part else "/"
    return or_(contract_id.like(f"{literally}%", escape=escape), contract_id.like(f"%{literally}", escape=escape))


def _row_columns() -> list[Any]:
    """The columns of a Row, as the texts that it holds."""
    as_text = {
        "payload": cast(Contract.payload, Text),
        "result": cast(Contract.result, Text),
        "metadata": cast(Contract.details, Text),
        "created_at": type_coerce(Contract.created_at, UtcText()),
        "completed_at": type_coerce(Contract.completed_at, UtcText()),
    }
    return [as_text.get(name, getattr(Contract, name)) for name in FIELDS]


def _few_sessions() -> search.Statement:
    """How many sessions there are, up to MANY_SESSIONS, by skipping from each to the next one in the index."""
    session_id = col(Contract.session_id)
    found = select(func.min(session_id).label("session_id")).cte("found", recursive=True)
    following = select(func.min(session_id)).where(session_id > found.c.session_id).scalar_subquery()
    found = found.union_all(select(following).where(found.c.session_id.is_not(None)))
    few = select(found.c.session_id).where(found.c.session_id.is_not(None)).limit(MANY_SESSIONS).subquery()
    return select(func.count()).select_from(few)

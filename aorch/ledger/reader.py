"""Reads the ledger: pages, single contracts, exchanges, counts, new contracts.

Nothing is written here except that a search for text first updates the full-text index (search.py).
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Self

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import NotFound, UsageError, contract_not_found
from aorch.ledger import task_queue
from aorch.ledger.attempt import Attempt
from aorch.ledger.changes import commits
from aorch.ledger.database import Database, statements
from aorch.ledger.exchanges import ExchangeFilter, ExchangeRow, exchange_page
from aorch.ledger.filters import EVERYTHING, Filter, count_of, records_of, shown_records_of
from aorch.ledger.record import COMPLETED, REQUEST, Record
from aorch.ledger.search import Progress, catch_up
from aorch.ledger.selection import Selection
from aorch.ledger.session_list import sessions_by_id
from aorch.ledger.tree import SHOWN, TreeNode, build_tree

__all__ = ["EVERYTHING", "Exchange", "Filter", "Reader"]

CHUNK, CHUNK_CHARACTERS = 1000, 4_000_000
"""Contracts that a stream holds in memory at a time, and their approximate number of characters."""
POLL_S = 0.1
"""How soon a follower notices a new contract."""
SHORTEST_PART = 4
"""Minimum length of a part of an id: shorter parts match too many ids."""
DEEPEST = 64
"""Maximum number of levels of delegation in an exchange."""
MANY_SESSIONS = 10_000
"""Number of sessions above which reading the whole index (37 ms for 1,000,000 contracts) is faster than skipping (1.8 µs
each).
"""


@dataclass(slots=True)
class Exchange:
    """A REQUEST, the RESPONSE that answers it, and the exchanges that were delegated below the REQUEST, oldest first.

    `request` is None for a RESPONSE whose REQUEST is not known or not in the ledger. `attempts` is empty if one was enough.
    """

    request: Record | None
    response: Record | None = None
    children: list["Exchange"] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: `request` and `response` as contracts or null, the `attempts`, and `children` as a list of the same
        form.
        """
        return {
            "request": self.request and self.request.as_dict(),
            "response": self.response and self.response.as_dict(),
            "attempts": [attempt.as_dict() for attempt in self.attempts],
            "children": [child.as_dict() for child in self.children],
        }


class Reader:
    """The ledger at `path`, open for reading inside a `with` block or until `close`; one thread at a time.

    A file that does not exist reads as an empty ledger and is not created. `progress` is called while a search updates the
    full-text index, and `unsearched` with the number of contracts that are not in the index, if the ledger is read-only. Every
    method raises LedgerError if the file cannot be read.
    """

    def __init__(
        self, path: LedgerLocation, progress: Progress | None = None, unsearched: Callable[[int], None] | None = None
    ) -> None:
        self.path = path
        self._progress, self._unsearched = progress, unsearched
        self._database = Database(path)
        self._found = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def page(
        self,
        which: Filter = EVERYTHING,
        *,
        limit: int | None = 50,
        newest_first: bool = True,
        before: int | None = None,
        after: int | None = None,
    ) -> list[Record]:
        """Up to `limit` contracts in the order of their positions, those before and after a position, both exclusive.

        The cursor of the next page is the `position` of the last contract, as `before` (newest first) or `after`.
        """
        selection = self._records(which)
        page = selection.page(before=before, after=after, newest_first=newest_first, limit=limit)
        return [record for _, record in self._chunk(page, math.inf)]

    def position(self, contract_id: str) -> int:
        """The position of the contract with exactly that id. Raises NotFound."""
        found = self._number(statements.POSITION_OF_CONTRACT, jsonio.storable_text(contract_id))
        if not found:
            raise contract_not_found(contract_id)
        return found

    def find(self, part: str) -> Record:
        """The contract with that id, or the one whose id starts or ends with `part`, in upper or lower case.

        Raises NotFound if there is none, UsageError if there are several or `part` is too short.
        """
        part = jsonio.storable_text(part)
        exact = self._in(statements.HAS_ID_IN, [part, part.upper()])
        if exact:
            return next((contract for contract in exact if contract.contract_id == part), exact[0])
        if len(part) < SHORTEST_PART:
            raise UsageError(
                f"contract ID {part!r} is too short", f"Give at least {SHORTEST_PART} of its first or last characters."
            )
        most = 10
        literally = re.sub(r"([%_/])", r"/\1", part.upper())
        patterns = (f"{literally}%", f"%{literally}")
        ids = [contract_id for (contract_id,) in self.select(statements.IDS_LIKE, *patterns, most + 1)]
        if not ids:
            raise NotFound(
                f"no contract ID begins or ends with {part!r}", "List the contracts with `aorch contracts list`."
            )
        if len(ids) > 1:
            shown = ", ".join(ids[:most]) + (" and more" if len(ids) > most else "")
            raise UsageError(
                f"several contract IDs begin or end with {part!r}: {shown}", "Give more characters of the ID."
            )
        return self._in(statements.HAS_ID_IN, ids)[0]

    def with_counterpart(self, contract_id: str) -> tuple[Record, Record | None]:
        """The contract with exactly that id, and its counterpart, the RESPONSE or the REQUEST, if it is in the ledger.

        Raises NotFound.
        """
        contract = self._first(statements.HAS_ID_IN, contract_id)
        if contract is None:
            raise contract_not_found(contract_id)
        if contract.contract_type == REQUEST:
            return contract, self._first(statements.ANSWERS_ONE_OF, contract.contract_id)
        return contract, self._first(statements.HAS_ID_IN, contract.request_id)

    def under_key(self, caller: str, key: str) -> tuple[str, Record | None, Record | None] | None:
        """The request that `caller` sent with that idempotency key: the fingerprint of the body, the REQUEST, and its
        RESPONSE if any.
        """
        rows = self.select(statements.REQUEST_OF_KEY, caller, key)
        if not rows:
            return None
        ((fingerprint, request_id),) = rows
        request = self._first(statements.HAS_ID_IN, request_id)
        return fingerprint, request, self._first(statements.ANSWERS_ONE_OF, request_id)

    def exchange(self, contract: Record) -> Exchange:
        """The whole exchange that `contract` is part of, with the exchanges delegated below it, down to DEEPEST levels."""
        if contract.contract_type != REQUEST and contract.request_id is None:
            return Exchange(None, contract)
        request_id = contract.contract_id if contract.contract_type == REQUEST else contract.request_id
        found = self._exchanges(self._in(statements.HAS_ID_IN, [request_id or ""]))
        if not found:
            return Exchange(None, contract)
        level, seen = found, {request_id}
        for _ in range(DEEPEST):
            parents = {each.request.contract_id: each for each in level if each.request}
            asked = [
                each for each in self._in(statements.DELEGATED_BY_ONE_OF, parents) if each.contract_type == REQUEST
            ]
            level = self._exchanges([each for each in asked if each.contract_id not in seen])
            if not level:
                break
            for each in level:
                assert each.request is not None
                seen.add(each.request.contract_id)
                parents[each.request.parent_id or ""].children.append(each)
        return found[0]

    def attempts(self, request_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        """The attempts of these REQUESTs, by the REQUEST's id; one that needed only one attempt has none."""
        found: dict[str, list[Attempt]] = {}
        for row in self.select(statements.ATTEMPTS_OF, jsonio.encode(list(request_ids))):
            found.setdefault(row[0], []).append(Attempt(*row))
        return found

    def tree(self, contract: Record, most: int | None = SHOWN) -> TreeNode:
        """The tree of the exchange of `contract`: the REQUESTs above it, up to the root, and all REQUESTs below it.

        Contains `most` children of each REQUEST (None: all). Raises NotFound for a RESPONSE whose REQUEST is not in the ledger.
        """
        request_id = contract.contract_id if contract.contract_type == REQUEST else contract.request_id
        root = build_tree(self.select, request_id or "", most)
        if root is None:
            raise NotFound(f"the REQUEST that {contract.contract_id} answers is not in the ledger")
        return root

    def exchanges(
        self, which: ExchangeFilter, *, limit: int, before: int | None = None, characters: float = math.inf
    ) -> tuple[list[tuple[int, ExchangeRow]], bool]:
        """A page of the log, newest first, each exchange with its cursor, and whether there may be more (exchanges.py).

        The page ends after the exchange with which it exceeds `characters`.
        """
        if which.text is not None and self._exists():
            catch_up(self._database, self._progress, self._unsearched)
        return exchange_page(self.select, which, limit=limit, before=before, characters=characters)

    def counts(self) -> dict[str, Any]:
        """`total_contracts`, `total_sessions` and `by_status`, without reading every row.

        The total is stored (`contract_count`), and an index contains all contracts except completed ones. Sessions are
        counted by skipping through their index, or by reading it if there are many.
        """
        total, by_status = self._by_status()
        return {"total_contracts": total, "total_sessions": self._sessions(), "by_status": by_status}

    def total(self, which: Filter) -> int:
        """The number of contracts that match `which`. All, those of a session and those in a status are counted in an index."""
        if which == EVERYTHING:
            return self._number(statements.CONTRACT_COUNT)
        if which == Filter(status=COMPLETED):
            return self._by_status()[1].get(COMPLETED, 0)
        if which == Filter(session_id=which.session_id):
            return self._number(statements.COUNT_OF_SESSION, jsonio.storable_text(which.session_id or ""))
        self._ready_for(which)
        sql, values = count_of(which).unordered()
        return self._number(sql, *values)

    def sessions(self, *, after: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Up to `limit` sessions after that one, in the order of their ids (session_list.py)."""
        return sessions_by_id(self.select, after=after, limit=limit)

    def each_row(self, sql: str, *values: Any) -> Iterator[Any]:
        """The rows of a statement, one at a time, in one transaction."""
        if self._exists():
            with self._database.read() as connection, closing(connection.stream(sql, values)) as found:
                yield from found

    def _by_status(self) -> tuple[int, dict[str, int]]:
        """The number of contracts, in total and by status, from one select so that they are consistent."""
        rows = self.select(statements.STATUS_COUNTS)
        if not rows:
            return 0, {}
        (_, total), *counted = rows
        completed = total - sum(count for _, count in counted)
        return total, {**({COMPLETED: completed} if completed else {}), **dict(counted)}

    def _sessions(self) -> int:
        few = self._number(statements.SESSION_COUNT_UP_TO, MANY_SESSIONS)
        return few if few < MANY_SESSIONS else self._number(statements.SESSION_COUNT)

    def last_position(self) -> int:
        """The position of the newest contract; 0 in an empty ledger."""
        return self._number(statements.LAST_POSITION)

    def stream(
        self,
        which: Filter = EVERYTHING,
        progress: Progress | None = None,
        *,
        after: int = 0,
        last: int | None = None,
    ) -> Iterator[Record]:
        """Every contract after that position and up to `last` (None: the newest when the stream starts), oldest first.

        Holds a CHUNK of them in memory at a time and reads in short transactions: even if it is consumed slowly, no writer
        and no checkpoint waits for it. `progress` is called with the position reached, and the last one.
        """
        last, reached = self.last_position() if last is None else last, after
        selection = self._records(which)
        while reached < last:
            chunk = self._chunk(selection.page(before=last + 1, after=reached, limit=CHUNK))
            yield from (row for _, row in chunk)
            reached = chunk[-1][0] if chunk else last
            if progress is not None:
                progress(reached, last)

    def follow(self, which: Filter = EVERYTHING, *, after: int) -> Iterator[Record]:
        """Every contract after that position, and each new one once it is committed, without end. Waits in this thread."""
        for chunk in self.follow_chunks(which, after=after):
            yield from chunk

    def follow_chunks(self, which: Filter, *, after: int) -> Iterator[list[Record]]:
        """The same contracts, those that are there at the same time as one list."""
        for _ in commits(self._database, POLL_S):
            while found := self.rows(which, after=after):
                yield [record for _, record in found]
                after = found[-1][0]

    def rows(
        self, which: Filter = EVERYTHING, *, after: int, limit: int = CHUNK, characters: int = CHUNK_CHARACTERS
    ) -> list[tuple[int, Record]]:
        """Up to `limit` contracts after that position, oldest first, each with its position.

        Ends after the contract with which they exceed `characters`.
        """
        return self._chunk(self._records(which).page(after=after, limit=limit), characters)

    def shown(
        self, which: Filter, *, limit: int, characters: int, newest_first: bool, **cursor: int | None
    ) -> tuple[list[tuple[int, Record]], bool]:
        """A page for a list, each contract with its position, and whether there may be more.

        A completed REQUEST has the result of its RESPONSE. `cursor` is `before` or `after`. The page ends after the contract
        with which it exceeds `characters`.
        """
        self._ready_for(which)
        page = shown_records_of(which).page(newest_first=newest_first, limit=limit + 1, **cursor)
        found = self._chunk(page, characters)
        return found, len(found) > limit or sum(row.characters() for _, row in found) > characters

    def news(self, after: int, of: frozenset[str] | None = None) -> tuple[int, list[tuple[int, Record]]]:
        """The contracts committed after that position in the sessions `of` (None: all), oldest first, each with its
        position. The first element of the result is the position up to which the list is complete.
        """
        last = self.last_position()
        selection = records_of(EVERYTHING)
        if of is not None:
            heard = self.select(statements.SESSIONS_BETWEEN, after, last)
            its = of.intersection(name for (name,) in heard)
            selection = selection.where(statements.IN_ONE_OF_SESSIONS, jsonio.encode(list(its)))
        found = self._chunk(selection.page(before=last + 1, after=after, limit=CHUNK))
        return (found[-1][0] if found else max(last, after)), found

    def _records(self, which: Filter) -> Selection:
        self._ready_for(which)
        return records_of(which)

    def _ready_for(self, which: Filter) -> None:
        if which.text is not None and self._exists():
            catch_up(self._database, self._progress, self._unsearched)

    def _first(self, condition: str, value: str | None) -> Record | None:
        found = [] if value is None else self._in(condition, [jsonio.storable_text(value)])
        return found[0] if found else None

    def _exchanges(self, requests: Sequence[Record]) -> list[Exchange]:
        ids = [each.contract_id for each in requests]
        answers = {each.request_id: each for each in self._in(statements.ANSWERS_ONE_OF, ids)}
        attempts = self.attempts(ids)
        return [
            Exchange(request, answers.get(request.contract_id), attempts=attempts.get(request.contract_id, []))
            for request in requests
        ]

    def _in(self, condition: str, values: Iterable[str]) -> list[Record]:
        """The contracts that fulfil `condition`, whose parameter is a list, with one of `values`; oldest first."""
        its = records_of(EVERYTHING).where(condition, jsonio.encode(list(values)))
        return [record for _, record in self._chunk(its.page(), math.inf)]

    def select(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a generated statement with these values; none if the file does not exist."""
        if not self._exists():
            return []
        with self._database.read() as connection:
            return connection.execute(sql, values).fetchall()

    def _chunk(
        self, page: tuple[str, tuple[Any, ...]], characters: float = CHUNK_CHARACTERS
    ) -> list[tuple[int, Record]]:
        if not self._exists():
            return []
        chunk, said = [], 0
        with self._database.read() as connection, closing(connection.stream(*page)) as found:
            for reached, *columns in found:
                row = Record(*columns)
                chunk.append((reached, row))
                said += row.characters()
                if said > characters:
                    break
        return chunk

    def _number(self, sql: str, *values: Any) -> int:
        rows = self.select(sql, *values)
        return int(rows[0][0] or 0) if rows else 0

    def _exists(self) -> bool:
        self._found = self._found or self._database.exists()
        return self._found

    def is_unowned(self, request_id: str) -> bool:
        """Whether that REQUEST is neither running here nor queued: it has ended, or was imported."""
        with self._database.read() as connection:
            return task_queue.is_unowned(connection, request_id)

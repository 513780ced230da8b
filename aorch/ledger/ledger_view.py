"""What commands read of a ledger, whether it is a file here or that of a server."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.database import ALL_ROWS
from aorch.ledger.exchange_log import cursor_of
from aorch.ledger.exchanges import ExchangeFilter, ExchangeRow
from aorch.ledger.queue_view import queue_view
from aorch.ledger.reader import EVERYTHING, Exchange, Filter, Reader
from aorch.ledger.record import Record
from aorch.ledger.search import Progress
from aorch.ledger.session_list import last_position, session_form, sessions_by_activity
from aorch.ledger.tree import SHOWN, TreeNode, session_trees
from aorch.ledger.whole_exchange import WholeExchange, whole_exchange


class LedgerView(Protocol):
    """A ledger, open for reading inside a `with` block. Positions are opaque: those of one ledger can be compared.

    The methods of the same names of Reader describe what they return and raise. A view of a server raises also the errors of a
    ServerConnection.
    """

    @property
    def path(self) -> LedgerLocation | None:
        """Where the ledger is; None if it is that of a server."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def find(self, part: str) -> Record:
        """The contract with that ID, or the one whose ID starts or ends with `part`."""
        ...

    def position(self, contract_id: str) -> int:
        """The position of the contract with exactly that ID."""
        ...

    def last_position(self) -> int:
        """The position of the newest contract."""
        ...

    def page(self, which: Filter = EVERYTHING, *, limit: int, before: int | None = None) -> list[Record]:
        """Up to `limit` contracts before a position, newest first."""
        ...

    def stream(self, which: Filter = EVERYTHING, progress: Progress | None = None) -> Iterator[Record]:
        """Every contract, oldest first. `progress` is called with the position reached, and the last one."""
        ...

    def follow(self, which: Filter = EVERYTHING, *, after: int) -> Iterator[Record]:
        """Every contract after that position, and each new one, without end."""
        ...

    def exchange(self, contract: Record) -> Exchange:
        """The whole exchange of a contract, with the exchanges delegated below it."""
        ...

    def tree(self, contract: Record, most: int | None = SHOWN) -> TreeNode:
        """The tree of the exchange of a contract, with `most` children of each REQUEST (None: all)."""
        ...

    def exchanges(
        self, which: ExchangeFilter, *, limit: int, before: int | None = None
    ) -> tuple[Sequence[tuple[int, ExchangeRow]], bool]:
        """A page of the log, newest first, and whether there may be more."""
        ...

    def exchange_cursor(self, which: ExchangeFilter, contract: Record) -> int:
        """The cursor of the exchange of a contract in the log of `which`."""
        ...

    def follow_chunks(self, which: Filter, *, after: int) -> Iterator[list[Record]]:
        """The contracts of `follow`, those that are there at the same time as one list."""
        ...

    def whole_exchange(self, contract_id: str) -> WholeExchange:
        """The exchange of the contract with exactly that ID."""
        ...

    def sessions_by_activity(self, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Sessions whose newest contract is before that position, the last active one first."""
        ...

    def session_position(self, session_id: str) -> int:
        """The position of the newest contract of a session; 0 if it has none."""
        ...

    def session(self, session_id: str) -> dict[str, Any]:
        """The form of a session."""
        ...

    def session_trees(self, session_id: str, *, newest: int | None, most: int | None) -> Iterator[list[TreeNode]]:
        """The trees of a session in pages, oldest first: the `newest` ones (None: all)."""
        ...

    def queue(self, limit: int) -> dict[str, Any]:
        """The queue, with up to `limit` tasks."""
        ...


TREES_AT_ONCE = 100
"""Number of trees of a session that are read at a time."""


class LocalView(Reader):
    """A LedgerView of a file."""

    def exchange_cursor(self, which: ExchangeFilter, contract: Record) -> int:
        """The cursor of the exchange of a contract in the log of `which`."""
        return cursor_of(self, which, contract)

    def whole_exchange(self, contract_id: str) -> WholeExchange:
        """The exchange of the contract with exactly that ID."""
        return whole_exchange(self, contract_id)

    def sessions_by_activity(self, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Sessions whose newest contract is before that position, the last active one first."""
        return [session for _, session in sessions_by_activity(self.select, before=before, limit=limit)]

    def session_position(self, session_id: str) -> int:
        """The position of the newest contract of a session; 0 if it has none."""
        return last_position(self.select, session_id)

    def session(self, session_id: str) -> dict[str, Any]:
        """The form of a session."""
        return session_form(self.select, session_id)

    def session_trees(self, session_id: str, *, newest: int | None, most: int | None) -> Iterator[list[TreeNode]]:
        """The trees of a session in pages, oldest first: the `newest` ones (None: all)."""
        after, before = 0, ALL_ROWS
        if newest is not None:
            found = session_trees(
                self.select, session_id, after=0, before=before, limit=newest, newest_first=True, most=1
            )
            after = found[-1][0] - 1 if found else 0
        while found := session_trees(
            self.select, session_id, after=after, before=before, limit=TREES_AT_ONCE, newest_first=False, most=most
        ):
            yield [root for _, root in found]
            after = found[-1][0]

    def queue(self, limit: int) -> dict[str, Any]:
        """The queue, with up to `limit` tasks."""
        return queue_view(self.path, limit)

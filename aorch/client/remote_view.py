"""The ledger of a server as commands read it: a LedgerView by HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from aorch.backoff import Backoff
from aorch.client import remote_forms as forms
from aorch.client.connection import ServerConnection
from aorch.client.problem_errors import FinalFailure
from aorch.client.server_session import ServerSession, segment
from aorch.errors import NotFound, ServiceUnreachable, UsageError
from aorch.ledger.exchanges import ExchangeFilter, ExchangeRow
from aorch.ledger.reader import EVERYTHING, Exchange, Filter
from aorch.ledger.record import Record
from aorch.ledger.tree import SHOWN, TreeNode
from aorch.ledger.whole_exchange import WholeExchange

PAGE = 1000
"""The most items of a page of the API."""
TREES_AT_ONCE = 100
MOST_CHILDREN = 100_000
"""The most children of a REQUEST that the server sends."""
RECONNECTS = 12
"""How often a broken stream is opened again without an event, within a minute."""
_BACKOFF = Backoff(0.1, 10.0)


class RemoteView(ServerSession):
    """A LedgerView of a server."""

    path = None

    def find(self, part: str) -> Record:
        """The contract with that ID, or the one whose ID starts or ends with `part`."""
        return forms.record_in(self.get(f"/v1/contract-ids/{segment(part)}")["contract"])

    def position(self, contract_id: str) -> int:
        """The position of the contract with exactly that ID."""
        return int(self.get(f"/v1/contract-ids/{segment(contract_id)}")["cursor"])

    def last_position(self) -> int:
        """The position of the newest contract."""
        return int(self.get("/v1/contracts", {"limit": 1, "total": False})["newest"])

    def page(self, which: Filter = EVERYTHING, *, limit: int, before: int | None = None) -> list[Record]:
        """Up to `limit` contracts before a position, newest first."""
        query = {**_contracts(which), "order": "desc", "cursor": before}
        return [
            forms.record_in(each) for each in self.pages("/v1/contracts", "contracts", query, most=limit, page=PAGE)
        ]

    def stream(
        self, which: Filter = EVERYTHING, progress: Callable[[int, int], None] | None = None
    ) -> Iterator[Record]:
        """Every contract up to the newest one at the start, oldest first."""
        query, cursor, newest = _contracts(which), None, None
        while True:
            page = self.get("/v1/contracts", {**query, "cursor": cursor, "limit": PAGE})
            newest = newest or int(page["newest"])
            for each in page["contracts"]:
                yield forms.record_in(each)
            cursor = page["next"]
            if progress is not None:
                progress(int(cursor or newest), newest)
            if cursor is None or int(cursor) >= newest:
                return

    def follow(self, which: Filter = EVERYTHING, *, after: int) -> Iterator[Record]:
        """Every contract after that position, and each new one, without end."""
        for chunk in self.follow_chunks(which, after=after):
            yield from chunk

    def follow_chunks(self, which: Filter, *, after: int) -> Iterator[list[Record]]:
        """The contracts of `follow`, those that are there at the same time as one list."""
        return self.iterate(lambda connection: _followed(connection, which, after))

    def exchange(self, contract: Record) -> Exchange:
        """The whole exchange of a contract, with the exchanges delegated below it."""
        return forms.exchange_in(self.get(f"/v1/contracts/{segment(contract.contract_id)}/exchange"))

    def tree(self, contract: Record, most: int | None = SHOWN) -> TreeNode:
        """The tree of the exchange of a contract, with `most` children of each REQUEST (None: MOST_CHILDREN)."""
        path = f"/v1/contracts/{segment(contract.contract_id)}/tree"
        return forms.tree_in(self.get(path, {"children": most or MOST_CHILDREN})["root"])

    def exchanges(
        self, which: ExchangeFilter, *, limit: int, before: int | None = None
    ) -> tuple[Sequence[tuple[int, ExchangeRow]], bool]:
        """A page of the log, newest first, and whether there may be more. Only the cursor of the last one is valid."""
        found = self._exchanges(which, limit, before)
        last = int(found["last"] or 0)
        return [(last, forms.exchange_row_in(each)) for each in found["exchanges"]], found["next"] is not None

    def exchange_cursor(self, which: ExchangeFilter, contract: Record) -> int:
        """The cursor of the exchange of a contract in the log of `which`."""
        request_id = contract.contract_id if contract.request_id is None else contract.request_id
        last = self._exchanges(which, 1, None, [request_id])["last"]
        return self.position(request_id) if last is None else int(last)

    def whole_exchange(self, contract_id: str) -> WholeExchange:
        """The exchange of the contract with exactly that ID."""
        return forms.whole_exchange_in(self.get(f"/v1/exchanges/{segment(contract_id)}"))

    def sessions_by_activity(self, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Sessions whose newest contract is before that position, the last active one first."""
        query = {"order": "last_at", "cursor": before}
        return list(self.pages("/v1/sessions", "sessions", query, most=limit, page=PAGE))

    def session_position(self, session_id: str) -> int:
        """The position of the newest contract of a session; 0 if it has none."""
        try:
            return int(self.get(f"/v1/sessions/{segment(session_id)}")["cursor"])
        except NotFound:
            return 0

    def session(self, session_id: str) -> dict[str, Any]:
        """The form of a session."""
        found: dict[str, Any] = self.get(f"/v1/sessions/{segment(session_id)}")
        del found["cursor"]
        return found

    def session_trees(self, session_id: str, *, newest: int | None, most: int | None) -> Iterator[list[TreeNode]]:
        """The trees of a session in pages, oldest first: the `newest` ones (None: all)."""
        path, query = f"/v1/sessions/{segment(session_id)}/tree", {"children": most or MOST_CHILDREN}
        if newest is not None:
            found = self.pages(path, "roots", {**query, "order": "desc"}, most=newest, page=TREES_AT_ONCE)
            yield [forms.tree_in(each) for each in found][::-1]
            return
        for root in self.pages(path, "roots", query, most=None, page=TREES_AT_ONCE):
            yield [forms.tree_in(root)]

    def queue(self, limit: int) -> dict[str, Any]:
        """The queue, with up to `limit` tasks, and at most PAGE."""
        found: dict[str, Any] = self.get("/v1/queue", {"limit": min(limit, PAGE)})
        return found

    def _exchanges(
        self, which: ExchangeFilter, limit: int, before: int | None, ids: Sequence[str] | None = None
    ) -> dict[str, Any]:
        check_words(which.text)
        query = forms.exchange_query(which)
        ids = which.ids if ids is None else ids
        found: dict[str, Any] = {"exchanges": [], "last": None, "next": None}
        if ids is not None and not ids:
            return found
        query |= {"ids": ids and ",".join(ids), "cursor": before, "limit": min(limit, PAGE)}
        found = self.get("/v1/exchanges", query)
        return found


def check_words(text: str | None) -> None:
    """Raise UsageError if `text` has no words, for which the API finds nothing."""
    if text is not None and not any(map(str.isalnum, text)):
        raise UsageError(f"{text!r} contains no word to search for", "Give words, such as --text 'connection refused'.")


def _contracts(which: Filter) -> dict[str, Any]:
    check_words(which.text)
    return {**forms.contract_query(which), "total": False}


async def _followed(connection: ServerConnection, which: Filter, after: int) -> AsyncIterator[list[Record]]:
    """New contracts in chunks. A broken stream is opened again; the errors are raised once that has failed RECONNECTS times."""
    failures = 0
    while True:
        try:
            async with connection.stream(
                "GET", "/v1/events", query={"session_id": which.session_id}, last_event_id=str(after)
            ) as events:
                async for event in events:
                    failures = 0
                    if event.id and int(event.id) > after:
                        async for reached, chunk in _new(connection, which, after):
                            after = reached
                            if chunk:
                                yield chunk
        except FinalFailure:
            raise
        except ServiceUnreachable:
            failures += 1
            if failures > RECONNECTS:
                raise
        await asyncio.sleep(_BACKOFF.pause_s(failures))


async def _new(connection: ServerConnection, which: Filter, after: int) -> AsyncIterator[tuple[int, list[Record]]]:
    """The contracts after a position that match, in chunks, each with the position up to which nothing else matches.

    They come from the list, because the event stream, which only tells when there are new ones, cannot filter them.
    """
    query = {**_contracts(which), "order": "asc", "limit": PAGE}
    more: str | None = str(after)
    while more is not None:
        page = await connection.get("/v1/contracts", {**query, "cursor": more})
        more = page["next"]
        reached = int(page["last"] or after)
        yield (
            reached if more else max(reached, int(page["newest"])),
            [forms.record_in(each) for each in page["contracts"]],
        )

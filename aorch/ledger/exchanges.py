"""The log of exchanges: each REQUEST with its RESPONSE as one row, newest first, in pages.

A page is read in two steps, because neither the view by session nor the full-text search can be joined with RESPONSEs in order:
first the REQUESTs, then the RESPONSE and the attempts of each. Payloads are not read.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from aorch import jsonio
from aorch.clock import rfc3339
from aorch.errors import InvalidJSON
from aorch.ledger.attempt import Attempt
from aorch.ledger.contract_metadata import ErasureMark, erasure_mark
from aorch.ledger.database import statements
from aorch.ledger.record import COMPLETED, FAILED, IN_PROGRESS, INTERRUPTED, ORCHESTRATOR, number_in, object_in, text_in
from aorch.ledger.search import among, narrowed
from aorch.ledger.selection import Selection

Rows: TypeAlias = Callable[..., Sequence[Any]]
"""Executes a statement with the values of its parameters."""


@dataclass(frozen=True, slots=True)
class ExchangeFilter:
    """Matches exchanges that have all these values; None matches every exchange.

    `agent` matches if it was chosen, or called by any attempt. `status` is that of the exchange (see ExchangeRow), and `failed`
    means `failed` or `interrupted`. `since` (inclusive) and `until` (exclusive) are aware times for `created_at`. `text` is words
    that the REQUEST or the RESPONSE must all contain (see search.py); `error` is a part of the error in upper or lower case.
    `caller` is the name or the ID of a token, or an agent in `from_agent`. `ids` are REQUESTs.
    """

    session_id: str | None = None
    agent: str | None = None
    capability: str | None = None
    status: str | None = None
    failed: bool = False
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    error: str | None = None
    caller: str | None = None
    ids: Sequence[str] | None = None


@dataclass(slots=True)
class ExchangeRow:
    """An exchange in the log. `result` is JSON text; times are RFC 3339.

    `status` is that of the REQUEST, or `interrupted` if its RESPONSE has that status. `agent_id` is the agent of the last
    attempt; None if there was none. `attempts` is the number of calls of agents. `caller` is the name of the caller's token;
    without one, `from_agent`. `erased`: who erased its content, when and why; None if nobody did.
    """

    request_id: str
    response_id: str | None
    session_id: str
    parent_id: str | None
    capability: str
    from_agent: str
    caller: str
    agent_id: str | None
    status: str
    created_at: str
    completed_at: str | None
    duration_ms: float | None
    attempts: int
    result: str | None
    error: str | None
    code: str | None
    erased: ErasureMark | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: every field by its name, `result` as a value. If another program wrote invalid JSON, `result` is its
        text.
        """
        form = {name: getattr(self, name) for name in self.__dataclass_fields__}
        form["erased"] = self.erased and self.erased._asdict()
        if self.result is not None:
            try:
                form["result"] = jsonio.decode(self.result)
            except InvalidJSON:
                form["result"] = self.result
        return form

    def characters(self) -> int:
        """The number of characters of the fields that can be long."""
        return sum(len(text) for text in (self.session_id, self.result, self.error) if text is not None)


EXCHANGE_FIELDS = tuple(ExchangeRow.__dataclass_fields__)
"""The names in the JSON form of an exchange, in order."""


class _Request(NamedTuple):
    contract_id: str
    session_id: str
    parent_id: str | None
    capability: str
    from_agent: str
    to_agent: str | None
    status: str
    created_at: str
    completed_at: str | None
    metadata: str


class _Response(NamedTuple):
    position: int
    contract_id: str
    from_agent: str
    status: str
    completed_at: str | None
    error: str | None
    result: str | None
    metadata: str


FEW = 500
"""Number of exchanges up to which their text is searched, instead of looking up the exchange of each contract with the text."""

Page: TypeAlias = tuple[list[tuple[int, ExchangeRow]], bool]
"""Exchanges, each with its cursor, and whether there may be more."""


def exchange_page(rows: Rows, which: ExchangeFilter, *, limit: int, before: int | None, characters: float) -> Page:
    """Up to `limit` exchanges before the cursor of another one (None: the newest), newest first.

    The page ends after the exchange with which it exceeds `characters`. Raises UsageError if `which.text` has no words.
    """
    requests = list(islice(_requests(rows, which, before, limit + 1), limit + 1))
    attempts: dict[str, list[Attempt]] = {}
    for row in rows(statements.ATTEMPTS_OF, jsonio.encode([request.contract_id for _, request in requests])):
        attempts.setdefault(row[0], []).append(Attempt(*row))
    found: list[tuple[int, ExchangeRow]] = []
    read = 0
    for cursor, request in requests[:limit]:
        if read > characters:
            return found, True
        response = next(iter(_responses(rows, request.contract_id)), None)
        exchange = _exchange(request, response, attempts.get(request.contract_id, []))
        read += exchange.characters()
        found.append((cursor, exchange))
    return found, len(requests) > limit


def _requests(rows: Rows, which: ExchangeFilter, before: int | None, limit: int) -> Iterator[tuple[int, _Request]]:
    """REQUESTs that match, each with its cursor."""
    if which.text is not None:
        yield from _by_match(rows, which, which.text, before, limit)
        return
    by_session = which.session_id is not None
    selection = Selection(statements.EXCHANGES_BY_SESSION if by_session else statements.EXCHANGES)
    sql, values = narrowed_to(selection, which).page(before=before, newest_first=True, limit=limit)
    for position, *columns in rows(sql, *values):
        yield position, _Request(*columns)


def _by_match(
    rows: Rows, which: ExchangeFilter, text: str, before: int | None, limit: int
) -> Iterator[tuple[int, _Request]]:
    """REQUESTs of the contracts that contain `text`, each once. The cursor is the position of the newest such contract."""
    selection = narrowed(Selection(statements.EXCHANGES_BY_MATCH), text, "m")
    selection = narrowed_to(selection.where(statements.IS_EXCHANGE_OF_MATCH), which)
    if which.failed or which.error is not None or which.status not in (None, COMPLETED):
        selection = selection.where(statements.MATCH_IS_NOT_COMPLETED)
    if which != ExchangeFilter(text=text):
        candidates = list(_requests(rows, replace(which, text=None), None, FEW + 1))
        if len(candidates) <= FEW:
            selection = among(selection, list(_positions(rows, candidates)))
    seen: set[str] = set()
    reached = before
    while True:
        sql, values = selection.page(before=reached, newest_first=True, limit=2 * limit)
        found = [(matched, position, _Request(*columns)) for position, *columns, matched in rows(sql, *values)]
        earlier = set() if before is None else _on_earlier_pages(rows, text, before, found)
        for matched, _, request in found:
            if request.contract_id not in seen and request.contract_id not in earlier:
                yield matched, request
            seen.add(request.contract_id)
            reached = matched
        if len(found) < 2 * limit:
            return


def _positions(rows: Rows, requests: Iterable[tuple[int, _Request]]) -> Iterator[int]:
    """The positions of these REQUESTs and of their RESPONSEs."""
    for position, request in requests:
        yield position
        yield from (response.position for response in _responses(rows, request.contract_id))


def _on_earlier_pages(rows: Rows, text: str, before: int, found: list[tuple[int, int, _Request]]) -> set[str]:
    """Of the REQUESTs that match themselves, those whose RESPONSE matches too and is not before the cursor `before`."""
    answered = {}
    for matched, position, request in found:
        if matched == position:
            for response in _responses(rows, request.contract_id):
                if response.position >= before:
                    answered[response.position] = request.contract_id
    if not answered:
        return set()
    matches = narrowed(Selection(statements.MATCHED_POSITIONS), text, "m").where(
        statements.MATCHES_UP_TO, max(answered)
    )
    sql, values = matches.page(after=before - 1)
    return {answered[position] for (position,) in rows(sql, *values) if position in answered}


def narrowed_to(selection: Selection, which: ExchangeFilter) -> Selection:
    """`selection`, which names the REQUESTs `c`, with the conditions of `which` except `text`."""
    for condition, *values in _conditions(which):
        selection = selection.where(condition, *values)
    return selection


def _conditions(which: ExchangeFilter) -> Iterator[tuple[Any, ...]]:
    """Each condition with the values of its parameters."""
    yield (statements.IS_REQUEST,)
    for condition, value, times in (
        (statements.IN_SESSION, which.session_id, 1),
        (statements.WITH_CAPABILITY, which.capability, 1),
        (statements.CALLED_AGENT, which.agent, 2),
        (statements.WITH_CALLER, which.caller, 3),
    ):
        if value is not None:
            yield condition, *[jsonio.storable_text(value)] * times
    yield from _of_status(which)
    if which.since is not None:
        yield statements.CREATED_SINCE, rfc3339(which.since)
    if which.until is not None:
        yield statements.CREATED_UNTIL, rfc3339(which.until)
    if which.ids is not None:
        yield statements.HAS_ID_IN, jsonio.encode(list(which.ids))


def _of_status(which: ExchangeFilter) -> Iterator[tuple[Any, ...]]:
    status = FAILED if which.failed or which.status == INTERRUPTED else which.status
    if which.failed and which.status not in (None, FAILED, INTERRUPTED):
        status = which.status  # together with the next condition, nothing matches
        yield statements.WITH_STATUS, FAILED
    if status is not None:
        yield statements.WITH_STATUS, jsonio.storable_text(status)
        if status != COMPLETED:
            yield (statements.NOT_COMPLETED,)
    if which.status == INTERRUPTED:
        yield (statements.IS_INTERRUPTED,)
    elif which.status == FAILED:
        yield (statements.IS_NOT_INTERRUPTED,)
    if which.error is not None:
        yield (statements.HAS_ENDED_BADLY,)
        yield statements.ERROR_CONTAINS, _pattern(which.error)


def _pattern(part: str) -> str:
    """The pattern of LIKE for texts that contain `part`, escaped with `/`."""
    escaped = jsonio.storable_text(part)
    for special in "/%_":
        escaped = escaped.replace(special, f"/{special}")
    return f"%{escaped}%"


def _exchange(request: _Request, response: _Response | None, attempts: Sequence[Attempt]) -> ExchangeRow:
    about, told = _object(request.metadata), _object(response.metadata if response else "{}")
    status, completed_at = request.status, request.completed_at
    if response is not None and (response.status == INTERRUPTED or completed_at is None):  # it may have ended just now
        status, completed_at = response.status, completed_at or response.completed_at
    agent_id = attempts[-1].agent_id if attempts else request.to_agent
    if response is not None and response.from_agent != ORCHESTRATOR:
        agent_id = response.from_agent
        called = True
    else:
        called = agent_id is not None and status in (IN_PROGRESS, INTERRUPTED)
    return ExchangeRow(
        request_id=request.contract_id,
        response_id=response.contract_id if response else None,
        session_id=request.session_id,
        parent_id=request.parent_id,
        capability=request.capability,
        from_agent=request.from_agent,
        caller=text_in(object_in(about, "caller"), "name") or request.from_agent,
        agent_id=agent_id,
        status=status,
        created_at=request.created_at,
        completed_at=completed_at,
        duration_ms=number_in(told, "duration_ms"),
        attempts=len(attempts) or int(number_in(told, "attempts") or called),
        result=response.result if response else None,
        error=response.error if response else None,
        code=text_in(told, "code"),
        erased=erasure_mark(about),
    )


def _responses(rows: Rows, request_id: str) -> list[_Response]:
    return [_Response(*row) for row in rows(statements.RESPONSE_IN_EXCHANGE, request_id)]


def _object(metadata: str) -> dict[str, Any]:
    try:
        found = jsonio.decode(metadata)
    except InvalidJSON:
        return {}
    return found if isinstance(found, dict) else {}

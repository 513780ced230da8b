"""A Filter of contracts, and the selects made from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aorch import jsonio
from aorch.clock import rfc3339
from aorch.ledger.database import statements
from aorch.ledger.record import COMPLETED
from aorch.ledger.search import narrowed
from aorch.ledger.selection import Selection


@dataclass(frozen=True, slots=True)
class Filter:
    """Matches contracts that have all these values; None matches every contract.

    `agent` matches the sender or the receiver. `since` (inclusive) and `until` (exclusive) are aware times for `created_at`.
    `changed_since` matches like `since`, and also older REQUESTs that are open or have ended since. `text` is
    words that payload, result or error must all contain (see search.py).
    """

    session_id: str | None = None
    agent: str | None = None
    contract_type: str | None = None
    capability: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    changed_since: datetime | None = None
    from_agent: str | None = None
    to_agent: str | None = None


EVERYTHING = Filter()


def records_of(which: Filter) -> Selection:
    """A select of the position and the columns of a Record."""
    return _matching(statements.CONTRACTS_BY_SESSION if _is_by_session(which) else statements.CONTRACTS, which)


def shown_records_of(which: Filter) -> Selection:
    """The same select for a list: a completed REQUEST has the result of its RESPONSE."""
    by_session = _is_by_session(which)
    return _matching(statements.SHOWN_CONTRACTS_BY_SESSION if by_session else statements.SHOWN_CONTRACTS, which)


def count_of(which: Filter) -> Selection:
    """A select of their number."""
    return _matching(statements.COUNT_BY_SESSION if _is_by_session(which) else statements.COUNT, which)


def _is_by_session(which: Filter) -> bool:
    """Whether to select from the view by session, which is faster, but only for one session."""
    return which.session_id is not None and which.text is None


def _matching(select: str, which: Filter) -> Selection:
    selection = Selection(select)
    if which.text is not None:
        selection = narrowed(selection, which.text)
    for condition, *values in _conditions(which):
        selection = selection.where(condition, *values)
    return selection


def _conditions(which: Filter) -> Iterator[tuple[Any, ...]]:
    """Each condition with the values of its parameters."""
    for condition, value in (
        (statements.IN_SESSION, which.session_id),
        (statements.OF_TYPE, which.contract_type),
        (statements.WITH_CAPABILITY, which.capability),
        (statements.WITH_STATUS, which.status),
        (statements.FROM_AGENT, which.from_agent),
        (statements.TO_AGENT, which.to_agent),
    ):
        if value is not None:
            yield condition, jsonio.storable_text(value)
    if which.status not in (None, COMPLETED):
        yield (statements.NOT_COMPLETED,)
    if which.agent is not None:
        agent = jsonio.storable_text(which.agent)
        yield statements.FROM_OR_TO_AGENT, agent, agent
    if which.since is not None:
        yield statements.CREATED_SINCE, rfc3339(which.since)
    if which.changed_since is not None:
        moment = rfc3339(which.changed_since)
        yield statements.CHANGED_SINCE, moment, moment
    if which.until is not None:
        yield statements.CREATED_UNTIL, rfc3339(which.until)

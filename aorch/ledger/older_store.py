"""Session files of the older JSON store, in which a RESPONSE does not name the REQUEST that it answers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from aorch import jsonio
from aorch.clock import from_rfc3339
from aorch.ledger.record import REQUEST, RESPONSE, Record


def link_responses(rows: Sequence[Record]) -> list[Record]:
    """The contracts of one file, each RESPONSE with the id of its REQUEST if one matches.

    The first choice is a REQUEST whose id is a value in the RESPONSE's metadata or payload. The second is a REQUEST of the
    same session, agents and capability that is older and has no RESPONSE yet: of several, one with the same status, then the
    one that completed closest to the RESPONSE, then the oldest.
    """
    requests = {row.contract_id: row for row in rows if row.contract_type == REQUEST}
    answered = {row.request_id for row in rows}
    answers: dict[str, Record] = {}
    unlinked = [row for row in rows if row.contract_type == RESPONSE and row.request_id is None]
    for row in unlinked:
        named = next((each for each in _values(row) if each in requests and each not in answered), None)
        if named is not None:
            answered.add(named)
            answers[row.contract_id] = _with_request(row, requests[named])
    waiting: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for request in requests.values():
        if request.contract_id not in answered:
            waiting[request.session_id, request.from_agent].append(request)
    for row in unlinked:
        if row.contract_id not in answers:
            candidates = waiting[row.session_id, row.to_agent or ""]
            request_found = _closest(row, candidates)
            if request_found is not None:
                candidates.remove(request_found)
                answers[row.contract_id] = _with_request(row, request_found)
    return [answers.get(row.contract_id, row) for row in rows]


def _values(row: Record) -> Iterable[str]:
    for text in (row.metadata, row.payload):
        yield from (value for value in jsonio.decode(text).values() if isinstance(value, str))


def _with_request(row: Record, request: Record) -> Record:
    return row._replace(request_id=request.contract_id, capability=row.capability or request.capability)


def _closest(row: Record, requests: Iterable[Record]) -> Record | None:
    fitting = [
        request
        for request in requests
        if request.to_agent == row.from_agent
        and row.capability in ("", request.capability)
        and request.created_at <= row.created_at
    ]
    return min(
        fitting, key=lambda request: (request.status != row.status, _seconds_between(request, row)), default=None
    )


def _seconds_between(request: Record, row: Record) -> float:
    if request.completed_at is None:
        return 0.0
    ended = from_rfc3339(row.completed_at or row.created_at)
    return abs((from_rfc3339(request.completed_at) - ended).total_seconds())

"""What the server sends, as the objects that the ledger's own queries return."""

from typing import Any

from aorch import jsonio
from aorch.clock import rfc3339
from aorch.ledger.attempt import Attempt
from aorch.ledger.contract_metadata import ErasureMark
from aorch.ledger.exchanges import ExchangeFilter, ExchangeRow
from aorch.ledger.reader import Exchange, Filter
from aorch.ledger.record import FIELDS, JSON_FIELDS, REQUEST, Record
from aorch.ledger.tree import TreeNode
from aorch.ledger.whole_exchange import WholeExchange

Json = dict[str, Any]


def record_in(form: Json) -> Record:
    """A contract. A REQUEST has no result of its own: the API shows that of its RESPONSE."""
    values = {name: form[name] for name in FIELDS}
    if form["contract_type"] == REQUEST:
        values["result"] = None
    for name in JSON_FIELDS:
        if name != "result" or values[name] is not None:
            values[name] = jsonio.encode(values[name])
    return Record(**values)


def exchange_row_in(form: Json) -> ExchangeRow:
    """An exchange of the log."""
    result, erased = form["result"], form["erased"]
    return ExchangeRow(
        **{
            **form,
            "result": None if result is None else jsonio.encode(result),
            "erased": None if erased is None else ErasureMark(**erased),
        }
    )


def exchange_in(form: Json) -> Exchange:
    """An exchange with those that were delegated below it."""
    request, response = form["request"], form["response"]
    request_id = request["contract_id"] if request else ""
    return Exchange(
        request and record_in(request),
        response and record_in(response),
        [exchange_in(child) for child in form["children"]],
        [Attempt(request_id, **attempt) for attempt in form["attempts"]],
    )


def tree_in(form: Json) -> TreeNode:
    """A REQUEST with those below it."""
    return TreeNode(**{**form, "children": [tree_in(child) for child in form["children"]]})


def whole_exchange_in(form: Json) -> WholeExchange:
    """An exchange in full."""
    request_id = form["request"]["contract_id"]
    return WholeExchange(
        exchange_row_in(form["exchange"]),
        record_in(form["request"]),
        form["response"] and record_in(form["response"]),
        [Attempt(request_id, **attempt) for attempt in form["attempts"]],
        [tree_in(child) for child in form["children"]],
        form["omitted"],
    )


def contract_query(which: Filter) -> Json:
    """The parameters of GET /v1/contracts for a filter."""
    return {
        "session_id": which.session_id,
        "agent": which.agent,
        "from_agent": which.from_agent,
        "to_agent": which.to_agent,
        "type": which.contract_type,
        "capability": which.capability,
        "status": which.status,
        "since": which.since and rfc3339(which.since),
        "until": which.until and rfc3339(which.until),
        "changed_since": which.changed_since and rfc3339(which.changed_since),
        "text": which.text,
    }


def exchange_query(which: ExchangeFilter) -> Json:
    """The parameters of GET /v1/exchanges for a filter, without `ids`."""
    return {
        "session_id": which.session_id,
        "agent": which.agent,
        "capability": which.capability,
        "status": which.status,
        "failed": which.failed or None,
        "since": which.since and rfc3339(which.since),
        "until": which.until and rfc3339(which.until),
        "text": which.text,
        "error": which.error,
        "caller": which.caller,
    }

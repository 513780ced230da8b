"""Shows one exchange in full: its task, its end, its attempts and the tasks that its agent delegated."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aorch import jsonio
from aorch.cli.render.console import printable, width
from aorch.cli.render.log_views import BOLD, DIM, MARKS, RED, colored, short_age, short_duration
from aorch.cli.render.times import shown_time
from aorch.cli.streams import has_colors
from aorch.clock import from_rfc3339
from aorch.errors import InvalidJSON
from aorch.ledger.contract_metadata import read_metadata
from aorch.ledger.record import ORCHESTRATOR, object_in

if TYPE_CHECKING:
    from aorch.ledger.exchanges import ExchangeRow
    from aorch.ledger.record import Record
    from aorch.ledger.tree import TreeNode
    from aorch.ledger.whole_exchange import WholeExchange

_LABEL = 12
_SHORTEST_WAIT_MS = 100
_SHOWN_APART = ("duration_ms", "code", "attempts", "tried")
"""Keys of a RESPONSE's metadata that have lines of their own."""


def exchange_lines(whole: "WholeExchange") -> Iterator[str]:
    """The lines of an exchange."""
    row = whole.row
    mark, color = MARKS.get(row.status, ("?", DIM))
    yield f"{_colored(f'{mark} {row.status}', color)}  {_colored(printable(row.capability), BOLD)}  {printable(row.request_id)}"
    about = _metadata(whole.request)
    parts = read_metadata(about)
    told = {name: value for name, value in _metadata(whole.response).items() if name not in _SHOWN_APART}
    told.pop("erased", None)
    for label, value in (
        ("session", row.session_id),
        ("delegated by", row.parent_id),
        ("agent", _agent(row.agent_id, object_in(about, "routing"))),
        ("caller", None if row.caller == ORCHESTRATOR else row.caller),
        ("created", f"{shown_time(row.created_at)}  ({_ago(row.created_at)})"),
        ("completed", row.completed_at and shown_time(row.completed_at)),
        ("took", None if row.duration_ms is None else f"{short_duration(row.duration_ms)}{_waited(row)}"),
        ("erased", row.erased and str(row.erased).removeprefix("erased ")),
        ("parameters", None if row.erased else _decoded(whole.request.payload)),
        ("context", parts.context or None),
        ("metadata", parts.custom or None),
        ("queue", parts.queue or None),
        ("result", None if row.result is None else _decoded(row.result)),
        ("error", row.error),
        ("code", row.code),
        ("details", told or None),
    ):
        if value is not None:
            text = printable(value) if isinstance(value, str) and label not in ("result", "error") else value
            yield from _labelled(label, text, RED if label == "error" else "")
    yield from _attempts(whole)
    yield from _children(whole)


def _agent(agent_id: str | None, routing: dict[str, Any]) -> str:
    why = routing.get("reason") or routing.get("chosen")
    chosen = f"  ({why.replace('_', ' ')})" if isinstance(why, str) else ""
    return f"{agent_id or '-'}{chosen}"


def _waited(row: "ExchangeRow") -> str:
    """The time between the creation and the start of the task, unless it is short."""
    if row.completed_at is None or row.duration_ms is None:
        return ""
    lasted = (from_rfc3339(row.completed_at) - from_rfc3339(row.created_at)).total_seconds() * 1000
    waited = lasted - row.duration_ms
    return f", after {short_duration(waited)} in the queue" if waited >= _SHORTEST_WAIT_MS else ""


def _attempts(whole: "WholeExchange") -> Iterator[str]:
    if not whole.attempts:
        return
    yield from _labelled("attempts", f"{len(whole.attempts)}")
    for each in whole.attempts:
        end = "running" if each.ended_at is None else each.code or "completed"
        yield printable(f"    {each.number}  {shown_time(each.started_at)}  {each.agent_id}  {end}")
        if each.error is not None:
            yield f"       {printable(each.error)}"


def _children(whole: "WholeExchange") -> Iterator[str]:
    if not whole.children:
        return
    yield from _labelled("delegated", "")
    for child in whole.children:
        yield from _child(child, "    ")
    if whole.omitted:
        yield f"    … {sum(whole.omitted.values()):,} more"


def _child(node: "TreeNode", indent: str) -> Iterator[str]:
    mark, color = MARKS.get(node.status, ("?", DIM))
    took = "" if node.duration_ms is None else f"  {short_duration(node.duration_ms)}"
    step = "" if node.step is None else f"{node.step}{'' if node.index is None else f'[{node.index}]'}: "
    what = printable(f"{step}{node.capability}  {node.agent_id or '-'}{took}  {node.contract_id}")
    error = f"  {_colored(printable(node.error.partition(chr(10))[0]), RED)}" if node.error else ""
    yield f"{indent}{_colored(mark, color)} {what}{error}"
    for child in node.children:
        yield from _child(child, f"{indent}  ")
    if node.omitted:
        yield f"{indent}  … {sum(node.omitted.values()):,} more"


def _labelled(label: str, value: object, color: str = "") -> Iterator[str]:
    """`value` after its label. Text has its own lines, other values are JSON, indented if they are long."""
    text = value if isinstance(value, str) else jsonio.encode(value)
    if not isinstance(value, str) and _LABEL + 4 + len(text) > width():
        import msgspec

        text = msgspec.json.format(text, indent=2)
    start = f"  {label:<{_LABEL}}"
    for line in text.rstrip("\n").split("\n"):
        yield f"{start}  {_colored(printable(line), color)}".rstrip()
        start = " " * len(start)


def _ago(moment: str) -> str:
    age = short_age(moment)
    return age if age == "now" else f"{age} ago"


def _metadata(contract: "Record | None") -> dict[str, Any]:
    found = _decoded(contract.metadata) if contract is not None else {}
    return found if isinstance(found, dict) else {}


def _decoded(text: str) -> Any:
    """The value of a JSON text; the text itself if another program wrote invalid JSON."""
    try:
        return jsonio.decode(text)
    except InvalidJSON:
        return text


def _colored(text: str, color: str) -> str:
    return colored(text, color, wanted=has_colors(sys.stdout))

"""Shows contracts as a table, as a line or as a whole exchange. Control characters in them are always escaped."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from aorch import jsonio
from aorch.cli.render.cells import cells, cut
from aorch.cli.render.console import print_table, print_text, printable, width
from aorch.cli.render.times import age, local_clock, shown_time
from aorch.cli.streams import is_terminal

if TYPE_CHECKING:
    from aorch.ledger.attempt import Attempt
    from aorch.ledger.contract_metadata import ErasureMark
    from aorch.ledger.reader import Exchange
    from aorch.ledger.record import Record

PIPED = (
    "contract_id",
    "created_at",
    "contract_type",
    "from_agent",
    "to_agent",
    "capability",
    "status",
    "session_id",
    "content",
)
"""The tab-separated columns in a pipe. `content` is the error, the result as JSON, or the payload as JSON."""

_DROPPED = ("from → to", "session", "created", "type", "capability")
"""Columns that a narrow terminal leaves out, the first one first."""
_LONGEST = {"capability": 24, "session": 28, "from → to": 48}
_GAP = 2
_CONTENT = 16
"""Minimum width of the column `content`; if less is left, the column is left out."""


def show_list(contracts: Iterable["Record"], *, one_session: bool = False) -> None:
    """Print a table with as many columns as fit; in a pipe, print the columns of PIPED in full."""
    contracts = list(contracts)
    if not is_terminal(sys.stdout):
        print_table(PIPED, map(_piped, contracts))
        return
    columns = width()
    rows = [_columns(contract) for contract in contracts]
    dropped = {"session"} if one_session else set()
    for name in ("", *_DROPPED):
        dropped.add(name)
        kept = [column for column in (rows[0] if rows else _COLUMNS) if column not in dropped]
        room = columns - sum(_widest(column, rows) + _GAP for column in kept)
        if room >= (_CONTENT if name in ("", _DROPPED[0]) else -_GAP):
            break
    table = [tuple(row[column] for column in kept) for row in rows]
    if room >= _CONTENT:
        kept.append("content")
        contents = (cut(printable(_content(contract)[:columns]), room) for contract in contracts)
        table = [(*row, content) for row, content in zip(table, contents, strict=True)]
    print_table(kept, table, cut=kept[-1])


def show_lines(contracts: Iterable["Record"]) -> None:
    """Print each contract as a line, cut to the width of the terminal; in a pipe, the columns of PIPED."""
    for contract in contracts:
        _show_line(contract)


def _show_line(contract: "Record") -> None:
    if not is_terminal(sys.stdout):
        print_table(PIPED, [_piped(contract)])
        return
    row = _columns(contract)
    words = (local_clock(contract.created_at), row["contract"], f"{row['type']:<8}", row["status"], row["capability"])
    text = "  ".join((*words, row["from → to"], printable(_content(contract)[: width()])))
    print_text(cut(text, width()))


def exchange_text(exchange: "Exchange", indent: str = "") -> str:
    """The lines of an exchange; delegated exchanges are indented below it."""
    both = (exchange.request, exchange.response)
    listed = ("attempts", "tried") if exchange.attempts else ()
    parts = ["\n".join(_described(each, indent, listed)) for each in both if each is not None]
    if exchange.request is not None and exchange.response is None:
        parts.append(f"{indent}no RESPONSE yet")
    if exchange.attempts:
        parts.append("\n".join(_attempts(exchange.attempts, indent)))
    parts += [exchange_text(child, f"{indent}    ") for child in exchange.children]
    return "\n\n".join(parts)


_COLUMNS = ("contract", "created", "type", "capability", "status", "session", "from → to")


def _columns(contract: "Record") -> dict[str, str]:
    values = (
        contract.contract_id,
        age(contract.created_at),
        contract.contract_type,
        contract.capability,
        contract.status,
        contract.session_id,
        f"{cut(printable(contract.from_agent), 23)} → {cut(printable(contract.to_agent or '-'), 23)}",
    )
    return {
        column: cut(printable(value[:200]), _LONGEST.get(column, 64))
        for column, value in zip(_COLUMNS, values, strict=True)
    }


def _piped(contract: "Record") -> tuple[str, ...]:
    form = contract.as_dict()
    return (*(form[name] or "" for name in PIPED[:-1]), _content(contract))


def _content(contract: "Record") -> str:
    if (mark := _mark(contract)) is not None:
        return str(mark)
    if contract.error is not None:
        return contract.error
    if contract.result is not None:
        return jsonio.encode(jsonio.decode(contract.result))
    return jsonio.encode(jsonio.decode(contract.payload)) if contract.contract_type == "REQUEST" else ""


def _mark(contract: "Record") -> "ErasureMark | None":
    if '"erased"' not in contract.metadata:
        return None
    from aorch.ledger.contract_metadata import mark_of

    return mark_of(contract)


def _described(contract: "Record", indent: str, without: tuple[str, ...] = ()) -> Iterator[str]:
    """The lines of a contract, whose metadata is shown without the keys in `without`."""
    form = contract.as_dict()
    form["metadata"] = {key: value for key, value in form["metadata"].items() if key not in without}
    yield indent + printable(f"{contract.contract_type} {contract.contract_id}  {contract.status}")
    mark = _mark(contract)
    if mark is not None:
        del form["metadata"]["erased"]
        form["payload"] = None
        yield indent + printable(f"  {mark} ({mark.erasure_id})")
    for label, name in (
        ("session", "session_id"),
        ("from", "from_agent"),
        ("to", "to_agent"),
        ("capability", "capability"),
        ("created", "created_at"),
        ("completed", "completed_at"),
        ("answers", "request_id"),
        ("on behalf of", "parent_id"),
        ("metadata", "metadata"),
        ("payload", "payload"),
        ("result", "result"),
        ("error", "error"),
    ):
        if form[name] or (name == "payload" and contract.contract_type == "REQUEST" and mark is None):
            value = shown_time(form[name]) if name in ("created_at", "completed_at") else form[name]
            yield from _labelled(f"{indent}  {label:<12}  ", value, plain=name == "error")


def _attempts(attempts: "Sequence[Attempt]", indent: str) -> Iterator[str]:
    yield f"{indent}{len(attempts)} attempts"
    for each in attempts:
        ended = "in progress" if each.ended_at is None else each.code or "completed"
        yield indent + printable(f"  {each.number}  {shown_time(each.started_at)}  {each.agent_id}  {ended}")
        if each.error is not None:
            yield indent + printable(f"     {each.error}")


def _labelled(label: str, value: object, *, plain: bool) -> Iterator[str]:
    """`value` after its label; further lines are indented to the same column."""
    text = value if isinstance(value, str) else _json(value, len(label))
    lines = text.rstrip("\n").split("\n") if plain or not isinstance(value, str) else [text]
    for line in lines:
        yield f"{label}{printable(line)}"
        label = " " * len(label)


def _json(value: object, beside: int) -> str:
    text = jsonio.encode(value)
    if beside + len(text) <= width():
        return text
    import msgspec

    return msgspec.json.format(text, indent=2)


def _widest(column: str, rows: list[dict[str, str]]) -> int:
    return max(cells(text) for text in (column, *(row[column] for row in rows)))

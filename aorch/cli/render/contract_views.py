"""How contracts look: a table, a line, a whole exchange, always with what strangers wrote made harmless."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from aorch import jsonio
from aorch.cli.render.console import is_terminal, print_table, print_text, printable
from aorch.clock import from_rfc3339

if TYPE_CHECKING:
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
    "said",
)
"""The tab-separated columns of a pipe, in order. `said` is the error, else the result, else the payload, as JSON."""

_DROPPED = ("from → to", "session", "created (UTC)", "type", "capability")
"""Columns that give way at a narrow terminal, the first of them first."""
_LONGEST = {"capability": 24, "session": 28, "from → to": 48}
_GAP = 2
_SAID = 16
"""Below this many characters the last column is not worth its place."""


def show_list(contracts: Sequence["Record"], *, one_session: bool = False) -> None:
    """A table at a terminal, as many columns as have room; in a pipe the columns of PIPED, whole."""
    if not is_terminal(sys.stdout):
        print_table(PIPED, map(_piped, contracts))
        return
    width = shutil.get_terminal_size().columns
    rows = [_columns(contract) for contract in contracts]
    dropped = {"session"} if one_session else set()
    for name in ("", *_DROPPED):
        dropped.add(name)
        kept = [column for column in (rows[0] if rows else _COLUMNS) if column not in dropped]
        room = width - sum(_widest(column, rows) + _GAP for column in kept)
        if room >= (_SAID if name in ("", _DROPPED[0]) else -_GAP):
            break
    table = [tuple(row[column] for column in kept) for row in rows]
    if room >= _SAID:
        kept.append("said")
        said = (_cut(printable(_said(contract)[:width]), room) for contract in contracts)
        table = [(*row, what) for row, what in zip(table, said, strict=True)]
    print_table(kept, table, cut=kept[-1])


def show_line(contract: "Record") -> None:
    """One contract as it comes: a line at a terminal, cut to its width; in a pipe the columns of PIPED."""
    if not is_terminal(sys.stdout):
        print_table(PIPED, [_piped(contract)])
        return
    width = shutil.get_terminal_size().columns
    row = _columns(contract)
    words = (row["created (UTC)"][11:], row["contract"], f"{row['type']:<8}", row["status"], row["capability"])
    text = "  ".join((*words, row["from → to"], printable(_said(contract)[:width])))
    print_text(_cut(text, width))


def exchange_text(exchange: "Exchange", indent: str = "") -> str:
    """The exchange in full, what was delegated indented below it."""
    parts = ["\n".join(_described(each, indent)) for each in (exchange.request, exchange.response) if each is not None]
    if exchange.request is not None and exchange.response is None:
        parts.append(f"{indent}no RESPONSE yet")
    parts += [exchange_text(child, f"{indent}    ") for child in exchange.children]
    return "\n\n".join(parts)


_COLUMNS = ("contract", "created (UTC)", "type", "capability", "status", "session", "from → to")


def _columns(contract: "Record") -> dict[str, str]:
    cells = (
        contract.contract_id,
        f"{from_rfc3339(contract.created_at):%Y-%m-%d %H:%M:%S}",
        contract.contract_type,
        contract.capability,
        contract.status,
        contract.session_id,
        f"{_cut(printable(contract.from_agent), 23)} → {_cut(printable(contract.to_agent or 'nobody'), 23)}",
    )
    return {
        column: _cut(printable(cell[:200]), _LONGEST.get(column, 64))
        for column, cell in zip(_COLUMNS, cells, strict=True)
    }


def _piped(contract: "Record") -> tuple[str, ...]:
    form = contract.as_dict()
    return (*(form[name] or "" for name in PIPED[:-1]), _said(contract))


def _said(contract: "Record") -> str:
    if contract.error is not None:
        return contract.error
    if contract.result is not None:
        return jsonio.encode(jsonio.decode(contract.result))
    return jsonio.encode(jsonio.decode(contract.payload)) if contract.contract_type == "REQUEST" else ""


def _described(contract: "Record", indent: str) -> Iterator[str]:
    form = contract.as_dict()
    yield indent + printable(f"{contract.contract_type} {contract.contract_id}  {contract.status}")
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
        if form[name] or (name == "payload" and contract.contract_type == "REQUEST"):
            yield from _labelled(f"{indent}  {label:<12}  ", form[name], plain=name == "error")


def _labelled(label: str, value: object, *, plain: bool) -> Iterator[str]:
    """`value` behind its label, on as many lines as it takes, each indented as far."""
    text = value if isinstance(value, str) else _json(value, len(label))
    lines = text.rstrip("\n").split("\n") if plain or not isinstance(value, str) else [text]
    for line in lines:
        yield f"{label}{printable(line)}"
        label = " " * len(label)


def _json(value: object, beside: int) -> str:
    text = jsonio.encode(value)
    if beside + len(text) <= shutil.get_terminal_size((100, 24)).columns:
        return text
    import msgspec

    return msgspec.json.format(text, indent=2)


def _widest(column: str, rows: list[dict[str, str]]) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in (column, *(row[column] for row in rows)))


def _cut(text: str, width: int) -> str:
    """`text` in at most `width` cells of a terminal, with an ellipsis where something is missing."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"

"""Shows memory blocks to people. Control characters in them are always escaped."""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aorch.cli.render.console import print_table, print_text, printable
from aorch.cli.render.times import age, shown_time
from aorch.cli.streams import is_terminal

if TYPE_CHECKING:
    from aorch.memory.block import MemoryBlock
    from aorch.memory.memory_queries import ClaimMatch

PIPED = ("block_id", "created_at", "session_id", "contracts", "before", "after", "quality", "compressor")
"""The tab-separated columns of `memory list` in a pipe."""

TITLES = {
    "aims": "Aims",
    "decisions": "Decisions and actions",
    "failures": "Failures",
    "open_points": "Open",
    "preferences": "Preferences",
    "results": "Results",
    "literals": "Exact strings",
}
_MARK = 8
"""How many characters of the end of an id are shown; `aorch contracts show` accepts them."""


def show_list(blocks: Sequence["MemoryBlock"]) -> None:
    """Print a table; in a pipe, the whole columns of PIPED."""
    if is_terminal(sys.stdout):
        rows = [
            (
                block.block_id,
                age(block.created_at),
                printable(block.session_id[:60]),
                f"{block.covered.count}",
                f"{block.size.tokens_before} → {block.size.tokens_after}",
                f"{block.quality:.2f}",
                block.compressor.name,
            )
            for block in blocks
        ]
        columns = ("block", "created", "session", "contracts", "tokens", "quality", "by")
        return print_table(columns, rows, cut="session", drop=("by", "quality", "created", "tokens", "contracts"))
    return print_table(PIPED, map(_piped, blocks))


def show_found(found: Sequence["ClaimMatch"]) -> None:
    """Print claims: below their session at a terminal, one line each in a pipe."""
    if not is_terminal(sys.stdout):
        cells = (
            (one.block_id, one.session_id, one.section, one.claim.text, " ".join(one.claim.contract_ids))
            for one in found
        )
        return print_table(("block", "session", "section", "text", "contracts"), list(cells))
    block_id = ""
    for one in found:
        if one.block_id != block_id:
            block_id = one.block_id
            print_text(f"{block_id}  {printable(one.session_id)}")
        print_text(_claim(f"{one.section}: {one.claim.text}", one.claim.contract_ids))
    return None


def show_mismatches(blocks: int, faults: Sequence[dict[str, str]]) -> None:
    """Print one line for each claim that its contracts do not support."""
    for fault in faults:
        print_text(f"{fault['block_id']}\t{printable(fault['session_id'])}\t{printable(fault['fault'])}")
    if not faults:
        print_text(f"{blocks} memory block{'' if blocks == 1 else 's'}: every citation and quotation is correct")


def block_text(block: "MemoryBlock", beside: dict[str, Any] | None) -> str:
    """The lines of a whole block."""
    return "\n".join((*_head(block), *_claims(block), *_left_out(block), *_beside(beside)))


def _head(block: "MemoryBlock") -> Iterator[str]:
    covered, size, made = block.covered, block.size, block.compressor
    by = f"{made.name} {made.version}{f' ({made.model})' if made.model else ''}"
    yield printable(f"{block.block_id}  session {block.session_id}")
    yield from _labelled(
        "covers", f"{covered.count} contracts, {covered.first_contract_id} to {covered.last_contract_id}"
    )
    yield from _labelled("from", f"{shown_time(covered.first_created_at)} to {shown_time(covered.last_created_at)}")
    yield from _labelled("created", f"{shown_time(block.created_at)} by {by}")
    if made.fallback_reason:
        yield from _labelled("fallback", made.fallback_reason)
    sizes = f"{size.tokens_before} tokens → {size.tokens_after} ({size.ratio:g} : 1; {size.counted})"
    yield from _labelled("size", f"{sizes}, quality {block.quality:g}")
    yield from _labelled("intent", block.intent)
    yield from _labelled("summary", block.summary)
    yield from _labelled("agents", _counted(block.agents))
    yield from _labelled("capabilities", _counted(block.capabilities))


def _claims(block: "MemoryBlock") -> Iterator[str]:
    for section, title in TITLES.items():
        claims = getattr(block, section)
        if claims:
            yield f"\n{title}"
            yield from (_claim(claim.text, claim.contract_ids) for claim in claims)


def _left_out(block: "MemoryBlock") -> Iterator[str]:
    if block.left_out:
        parts = (f"{left.count} {TITLES.get(name, name).lower()}" for name, left in block.left_out.items())
        yield "\nLeft out"
        yield printable(f"  {', '.join(parts)}")


def _beside(beside: dict[str, Any] | None) -> Iterator[str]:
    if beside is None:
        return
    answer = beside.get("answer") or {}
    yield "\nMemAgent"
    yield from _labelled("session", str(beside.get("memagent_session_id", "")))
    yield from _labelled("notes", f"{beside.get('sent', 0)} sent, {beside.get('refused', 0)} rejected")
    yield from _labelled("error", str(beside.get("error") or ""))
    if answer:
        yield from _labelled("summary", str(answer.get("summary") or answer.get("message") or ""))
        yield from _labelled("source", f"{answer.get('events_processed', 0)} events that aorch did not send")


def _labelled(label: str, text: str) -> Iterator[str]:
    if text:
        yield f"  {label:<12}  {printable(text)}"


def _claim(text: str, contract_ids: Sequence[str]) -> str:
    cites = " ".join(contract_id[-_MARK:] for contract_id in contract_ids)
    return textwrap.indent(printable(f"{text} [{cites}]"), "  - ")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name or '(none)'} ×{count}" for name, count in counts.items())


def _piped(block: "MemoryBlock") -> tuple[str, ...]:
    size = block.size
    return (
        block.block_id,
        block.created_at,
        block.session_id,
        f"{block.covered.count}",
        f"{size.tokens_before}",
        f"{size.tokens_after}",
        f"{block.quality:g}",
        block.compressor.name,
    )

"""Shows memory blocks to people. Control characters in them are always escaped."""

import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aorch.cli.render.console import print_table, print_text, printable
from aorch.cli.render.times import age, shown_time
from aorch.cli.streams import is_terminal

if TYPE_CHECKING:
    from aorch.memory.block import Claim, MemoryBlock
    from aorch.memory.memory_queries import ClaimMatch

PIPED = ("block_id", "created_at", "session_id", "contracts", "before", "after", "quality", "compressor")
"""The tab-separated columns of `memory list` in a pipe."""

TITLES = {
    "pinned": "Pinned",
    "notes": "Notes",
    "aims": "Aims",
    "decisions": "Decisions and actions",
    "failures": "Failures",
    "open_points": "Open",
    "preferences": "Preferences",
    "results": "Results",
    "literals": "Exact strings",
}
COUNTED = {
    "decisions": ("decision or action", "decisions and actions"),
    "open_points": ("open point", "open points"),
    "literals": ("exact string", "exact strings"),
}
"""One and several claims of a section whose name is not the word for several of them."""
_MARK = 8
"""How many characters of the end of an id are shown; `aorch contracts show` accepts them."""


def show_list(blocks: Iterable["MemoryBlock"]) -> None:
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


def show_found(found: Iterable["ClaimMatch"]) -> None:
    """Print claims: below their session at a terminal, one line each in a pipe."""
    if not is_terminal(sys.stdout):
        from aorch.memory.block import claim_id

        cells = (
            (*one[:3], one[3].text, " ".join(one[3].contract_ids), claim_id(one[3]))
            for one in ((each.block_id, each.session_id, each.section, each.claim) for each in found)
        )
        return print_table(("block", "session", "section", "text", "contracts", "claim"), list(cells))
    block_id = ""
    for one in found:
        if one.block_id != block_id:
            block_id = one.block_id
            print_text(f"{block_id}  {printable(one.session_id)}")
        print_text(_claim(f"{one.section}: {one.claim.text}", one.claim))
    return None


def show_corrections(corrections: Iterable[dict[str, Any]]) -> None:
    """Print a table; in a pipe, its whole columns."""
    rows = [
        (
            one["contract_id"],
            one["created_at"],
            printable(one["session_id"]),
            one["action"],
            one["claim_id"],
            printable(one["text"]),
        )
        for one in corrections
    ]
    columns = ("correction", "created", "session", "action", "claim", "text")
    if not is_terminal(sys.stdout):
        return print_table(columns, rows)
    short = [(each, age(created), session[:40], *rest) for each, created, session, *rest in rows]
    return print_table(columns, short, cut="text", drop=("created", "claim", "session"))


def show_mismatches(
    blocks: int, faults: Sequence[dict[str, str]], erased: int, pruned: Sequence[dict[str, str]]
) -> None:
    """Print one line for each claim that its contracts do not support. `erased` claims were erased with their contracts; the
    contracts of `pruned` citations are no longer in the ledger.
    """
    for fault in faults:
        print_text(f"{fault['block_id']}\t{printable(fault['session_id'])}\t{printable(fault['fault'])}")
    for each in pruned:
        print_text(
            f"{each['block_id']}\t{printable(each['session_id'])}\tcites {each['contract_id']}, which was pruned"
        )
    if not faults and pruned:
        print_text(f"{blocks} memory block{'' if blocks == 1 else 's'}: every citation that can be checked is correct")
    elif not faults:
        gone = f" ({erased} claim{'' if erased == 1 else 's'} erased)" if erased else ""
        print_text(f"{blocks} memory block{'' if blocks == 1 else 's'}: every citation and quotation is correct{gone}")


def show_changes(block_id: str, changes: Sequence[dict[str, Any]], max_tokens: int) -> None:
    """Print what a block changes in a prompt: a line for each claim, + added, ~ reworded, - dropped."""
    counts = Counter(change["change"] for change in changes)
    print_text(
        f"{block_id} adds {counts['added']}, rewords {counts['reworded']} and drops {counts['dropped']} claims"
        f" in a prompt of {max_tokens} tokens"
    )
    for change in changes:
        text = change["after"] if change["change"] == "added" else change["before"]
        if change["change"] == "reworded":
            text = f"{change['before']} → {change['after']}"
        reason = f" ({change['reason']})" if change["reason"] else ""
        sign = {"added": "+", "reworded": "~", "dropped": "-"}[change["change"]]
        print_text(printable(f"{sign} {change['section']}: {text}{reason}"))


def block_text(block: "MemoryBlock", beside: dict[str, Any] | None) -> str:
    """The lines of a whole block."""
    return "\n".join((*_head(block), *_claims(block), *_erased(block), *_left_out(block), *_beside(beside)))


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
            yield from (_claim(claim.text, claim) for claim in claims)


def _erased(block: "MemoryBlock") -> Iterator[str]:
    if block.erased is not None:
        ids = ", ".join(identity[-_MARK:] for identity in block.erased.contract_ids)
        yield "\nErased"
        yield printable(
            f"  {block.erased.claims} claim{'' if block.erased.claims == 1 else 's'} about erased contracts: {ids}"
        )


def _left_out(block: "MemoryBlock") -> Iterator[str]:
    if block.left_out:
        parts = (f"{left.count} {_kind(name, left.count)}" for name, left in block.left_out.items())
        yield "\nLeft out"
        yield printable(f"  {', '.join(parts)}")


def _kind(section: str, count: int) -> str:
    one, several = COUNTED.get(section, (section.removesuffix("s"), section))
    return one if count == 1 else several


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


def _claim(text: str, claim: "Claim") -> str:
    from aorch.memory.block import claim_id

    cites = " ".join(contract_id[-_MARK:] for contract_id in claim.contract_ids)
    return textwrap.indent(printable(f"{text} [{cites}] {claim_id(claim)}"), "  - ")


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

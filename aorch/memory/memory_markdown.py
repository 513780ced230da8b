"""Memory blocks as Markdown for people. Nothing in a text of the ledger works as markup: it is escaped."""

import re
from collections.abc import Iterable, Iterator

from aorch.memory import safe_text
from aorch.memory.block import BY_PEOPLE, SECTIONS, Claim, MemoryBlock, claim_id

TITLES = {
    "pinned": "Pinned",
    "notes": "Notes",
    "aims": "Aims",
    "decisions": "Decisions and actions",
    "failures": "Failures",
    "results": "Results",
    "preferences": "Preferences",
    "open_points": "Open",
    "literals": "Exact strings",
}
_MARKUP = re.compile(r"[\\`*_~\[\]<>&#|!$^={}@]")
_LINK = re.compile(r"(?<=[A-Za-z])(:)(?=//)|(?i:(?<=www)(\.))")
_START = re.compile(r"^(?:([-+])|(\d{1,9})([.)]))")


def markdown(sessions: Iterable[tuple[str, list[MemoryBlock]]]) -> Iterator[str]:
    """The lines of a document with the blocks of each session, oldest first."""
    yield "# Memory"
    for session_id, blocks in sessions:
        if blocks:
            yield f"\n## Session {escaped(session_id)}"
        for block in blocks:
            yield from _block(block)


def escaped(text: str) -> str:
    """`text` on one line, with a backslash before each character that Markdown could take as markup (CommonMark 0.31, 2.4)."""
    line = " ".join(safe_text.lines(text))
    line = _MARKUP.sub(lambda found: f"\\{found[0]}", line)
    line = _LINK.sub(lambda found: f"\\{found[0]}", line)
    return _START.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", line)


def _block(block: MemoryBlock) -> Iterator[str]:
    covered, made = block.covered, block.compressor
    days = " to ".join(dict.fromkeys((covered.first_created_at[:10], covered.last_created_at[:10])))
    yield f"\n### {escaped(days)}: {covered.count} contracts"
    by = f"{made.name} {made.version}{f' ({made.model})' if made.model else ''}"
    yield f"\n{escaped(block.block_id)}, made {escaped(block.created_at)} by {escaped(by)}"
    for section in (*BY_PEOPLE, *SECTIONS):
        if claims := getattr(block, section):
            yield from (f"\n#### {TITLES[section]}", "")
            yield from map(_claim, claims)
    if block.erased is not None:
        yield f"\n{block.erased.claims} claims about erased contracts were removed."


def _claim(claim: Claim) -> str:
    cites = ", ".join(map(escaped, claim.contract_ids))
    return f"- {escaped(claim.text)} ({claim_id(claim).replace('_', chr(92) + '_')}: {cites})"

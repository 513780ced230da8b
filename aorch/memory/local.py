"""The local compressor: it selects and quotes, invents nothing, asks nobody, and gives the same block for the same contracts."""

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from aorch.memory import text as texts
from aorch.memory.block import SECTIONS, Claim, Compressor, Covered, LeftOut, MemoryBlock, Size, intent_of
from aorch.memory.candidates import candidates
from aorch.memory.gathering import Gathered, gather
from aorch.memory.packing import Item
from aorch.memory.prompt import fitted, prompt
from aorch.memory.reading import Contract

NAME, VERSION = "local", "1"
_RATED = ("aims", "decisions", "failures", "literals")
_TOLD = ("aims", "decisions", "results")
_MOST_COUNTED = 50
_SOME = 5


def compress(
    contracts: Iterable[Contract],
    *,
    block_id: str,
    created_at: str,
    session_id: str = "",
    intent: str | None = None,
    max_tokens: int = 512,
) -> MemoryBlock:
    """The memory of `contracts`, which are of one session and come oldest first; they are read once and not kept.

    `prompt` shows the whole block within `max_tokens`. `intent`, where given, says what the memory is wanted for: what
    belongs to it is kept first. `session_id` is needed only where there may be no contracts.
    """
    gathered = gather(contracts)
    items = candidates(gathered, intent)
    outline = _block(gathered, block_id, created_at, session_id, intent, [])
    packed = fitted([outline], items, max_tokens)
    places = set(packed.wordings) if packed else set()
    kept = [item for place, item in enumerate(items) if place in places]
    block = _block(gathered, block_id, created_at, session_id, intent, kept)
    return replace(
        block,
        size=_size(gathered, len(prompt([block], max_tokens)[0])),
        quality=_quality(items, kept, gathered.passed_over),
        left_out=_left_out(items, places, gathered.passed_over),
    )


def _block(
    g: Gathered, block_id: str, created_at: str, session_id: str, intent: str | None, kept: list[Item]
) -> MemoryBlock:
    sections: dict[str, tuple[Claim, ...]] = {
        section: tuple(claim for kind, claim in kept if kind == section) for section in SECTIONS
    }
    return MemoryBlock(
        block_id=block_id,
        session_id=session_id or str(g.first.get("session_id") or ""),
        created_at=created_at,
        intent=texts.clip(texts.line(intent), 400) if intent else intent_of(sections["aims"]),
        summary=_summary(g, sections),
        agents=dict(g.agents.most_common(_MOST_COUNTED)),
        capabilities=dict(g.capabilities.most_common(_MOST_COUNTED)),
        covered=_covered(g),
        size=_size(g, 0),
        compressor=Compressor(NAME, VERSION),
        quality=0.0,
        left_out={},
        answered_before=tuple(g.answered_before),
        **sections,
    )


def _covered(g: Gathered) -> Covered:
    ends = [str(end.get(name) or "") for name in ("contract_id", "created_at") for end in (g.first, g.last)]
    return Covered(g.count, *ends)


def _summary(g: Gathered, sections: dict[str, tuple[Claim, ...]]) -> str:
    """Counts, and the weightiest claim each of what was aimed at, done and answered: all of it is in the claims as well."""
    used = ", ".join(f"{texts.shown(name)} ×{count}" for name, count in g.capabilities.most_common(5))
    failures = sum(failure.count for failure in g.failures.values())
    parts = [
        f"{g.count} contracts: {used}" if used else f"{g.count} contracts",
        f"{failures} failed" if failures else "",
    ]
    parts += [max(sections[kind], key=lambda claim: claim.importance).text for kind in _TOLD if sections[kind]]
    return ". ".join(part for part in parts if part)


def _size(g: Gathered, chars_after: int) -> Size:
    before, after = texts.tokens(g.chars), texts.tokens(chars_after)
    return Size(before, after, texts.HOW_COUNTED, round(before / after, 2) if after else 0.0)


def _quality(items: list[Item], kept: list[Item], passed_over: Counter[str]) -> float:
    shares = []
    for section in _RATED:
        found = sum(_weight(item) for item in items if item[0] == section)
        if found:
            held = sum(_weight(item) for item in items if item[0] == section and (item in kept or _named(item, kept)))
            shares.append(held / (found + passed_over[section]))
    return round(sum(shares) / len(shares), 3) if shares else 1.0


def _weight(item: Item) -> float:
    return item[1].importance if item[0] == "literals" else 1.0


def _named(item: Item, kept: list[Item]) -> bool:
    """Whether an exact string stands in a sentence that was kept."""
    return item[0] == "literals" and any(
        item[1].quotes[0] in claim.text for section, claim in kept if section != "literals"
    )


def _left_out(items: list[Item], places: set[int], passed_over: Counter[str]) -> dict[str, LeftOut]:
    kept = [items[place] for place in places]
    left: dict[str, LeftOut] = {}
    for section in SECTIONS:
        out = [
            item[1] for n, item in enumerate(items) if item[0] == section and n not in places and not _named(item, kept)
        ]
        count = len(out) + passed_over[section]
        if count:
            ids = dict.fromkeys(identity for claim in out for identity in claim.contract_ids[-1:])
            left[section] = LeftOut(count, tuple(ids)[:_SOME])
    return left

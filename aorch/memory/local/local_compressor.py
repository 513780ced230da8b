"""The local compressor: selects and quotes, without a model. The same contracts always give the same block."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from aorch.memory import safe_text
from aorch.memory.block import (
    LOCAL,
    MOST_COUNTED,
    SECTIONS,
    BlockRequest,
    Claim,
    Compressor,
    Covered,
    LeftOut,
    MemoryBlock,
    Size,
    counted,
    intent_of,
)
from aorch.memory.budget import WANTED, Item, PackedClaims
from aorch.memory.contract_content import Contract
from aorch.memory.literals import weight
from aorch.memory.local.candidate_claims import candidate_claims, literal_claims
from aorch.memory.local.collecting import collect_findings
from aorch.memory.local.findings import Findings
from aorch.memory.local.record_claims import record_items
from aorch.memory.prompt import fits_whole, fitted, prompt_text

NAME, VERSION = LOCAL
_IN_SUMMARY = ("aims", "decisions", "results")
_LEAST = 0.2  # weight of an exact string that was not considered
_SOME = 5


def compress_locally(contracts: Iterable[Contract], request: BlockRequest) -> MemoryBlock:
    """The memory block of `contracts`, which belong to one session and come oldest first. They are read once and not kept."""
    findings = collect_findings(contracts, request.asked_before, request.max_tokens * safe_text.CHARS_A_TOKEN)
    outline = _outline(findings, request)
    if (block := _whole_record(findings, request, outline)) is not None:
        return block
    items, counts = candidate_claims(findings, request.intent)
    passed_over = findings.passed_over + counts.unsaid
    places = _fitting(outline, items, request.max_tokens)
    kept = [items[place] for place in places]
    block = _filled(outline, findings, request, kept)
    out = _out(items, places)
    passed_over["literals"] += _unnamed(findings, items, kept)
    return replace(
        block,
        size=_size(findings, len(prompt_text([block], request.max_tokens)[0])),
        quality=_quality(items, out, passed_over, counts.calls_in),
        left_out=_left_out(out, passed_over, counts.calls_in),
    )


def _whole_record(findings: Findings, request: BlockRequest, outline: MemoryBlock) -> MemoryBlock | None:
    """A block that contains every exchange in full; None if they do not fit."""
    items = record_items(findings)
    if not items or not fits_whole(outline, items, request.max_tokens):
        return None
    block = _filled(outline, findings, request, [*items, *_named(literal_claims(findings), items)])
    after = len(prompt_text([block], request.max_tokens)[0])
    return replace(block, size=_size(findings, after), quality=1.0)


def _named(names: Iterable[Claim], items: list[Item]) -> Iterator[Item]:
    """The exact strings that these items contain, which shorter wordings of the items may not contain."""
    shown = "\n".join(claim.text for _, claim in items)
    cited = {identity for _, claim in items for identity in claim.contract_ids}
    for claim in names:
        if _is_named(claim, cited) and claim.quotes[0] in shown:
            yield "literals", claim


def _is_named(claim: Claim, cited: set[str]) -> bool:
    """Whether an exact string is worth a claim beside the sentences that cite these contracts."""
    return claim.importance >= WANTED and weight(claim.quotes[0]) > 0 and cited.issuperset(claim.contract_ids)


def _shown_places(packed: PackedClaims) -> Iterator[int]:
    """The items that the prompt contains, among them exact strings that a sentence contains, with their contract."""
    cited = {identity for place in packed.wordings for identity in packed.items[place][1].contract_ids}
    for place, (section, claim) in enumerate(packed.items):
        is_named = section == "literals" and _is_named(claim, cited)
        if place in packed.wordings or (is_named and packed.shows(claim.quotes[0])):
            yield place


def _fitting(outline: MemoryBlock, items: list[Item], max_tokens: int) -> list[int]:
    """The indexes of items that all fit when they are packed without the others."""
    places = list(range(len(items)))
    while True:
        packed = fitted([outline], [items[place] for place in places], max_tokens)
        fitting = [places[n] for n in _shown_places(packed)] if packed else []
        if len(fitting) == len(places):
            return places
        places = fitting


def _outline(g: Findings, request: BlockRequest) -> MemoryBlock:
    """The block without claims and without a summary."""
    return MemoryBlock(
        block_id=request.block_id,
        session_id=request.session_id or str(g.first.get("session_id") or ""),
        created_at=request.created_at,
        intent=safe_text.clip(safe_text.first_line(request.intent), 400) if request.intent else "",
        summary="",
        agents=dict(g.agents.most_common(MOST_COUNTED)),
        capabilities=dict(g.capabilities.most_common(MOST_COUNTED)),
        covered=_covered(g),
        size=_size(g, 0),
        compressor=Compressor(NAME, VERSION),
        quality=0.0,
        left_out={},
        answered_before=tuple(g.answered_before),
        ends=dict(g.ends),
        erased=None,
        **dict.fromkeys(SECTIONS, ()),
    )


def _filled(outline: MemoryBlock, g: Findings, request: BlockRequest, kept: list[Item]) -> MemoryBlock:
    """The block with these claims."""
    of_section: dict[str, list[Claim]] = {section: [] for section in SECTIONS}
    for section, claim in kept:
        of_section[section].append(claim)
    sections = {section: tuple(claims) for section, claims in of_section.items()}
    intent = outline.intent if request.intent else intent_of(sections["aims"])
    return replace(outline, intent=intent, summary=_summary(g, sections), **sections)


def _covered(g: Findings) -> Covered:
    ends = [str(end.get(name) or "") for name in ("contract_id", "created_at") for end in (g.first, g.last)]
    return Covered(g.count, *ends)


def _summary(g: Findings, sections: dict[str, tuple[Claim, ...]]) -> str:
    """The counts, and the most important aim, decision and result. The claims contain the same statements."""
    parts = counted(g.count, dict(g.capabilities.most_common(5)), g.ends)
    parts += [max(sections[kind], key=lambda claim: claim.importance).text for kind in _IN_SUMMARY if sections[kind]]
    return ". ".join(part for part in parts if part)


def _size(g: Findings, chars_after: int) -> Size:
    before, after = safe_text.tokens(g.chars), safe_text.tokens(chars_after)
    return Size(before, after, safe_text.HOW_COUNTED, round(before / after, 2) if after else 0.0)


def _quality(items: list[Item], out: list[Item], passed_over: Counter[str], told: dict[Claim, int]) -> float:
    """The mean, over the sections with findings, of the share of findings that are not left out."""
    shares = []
    for section in SECTIONS:
        least = _LEAST if section == "literals" else 1.0
        missing = sum(_weight(item, told) for item in out if item[0] == section) + least * passed_over[section]
        found = sum(_weight(item, told) for item in items if item[0] == section) + least * passed_over[section]
        if found:
            shares.append(1 - missing / found)
    return math.floor(1000 * sum(shares) / len(shares) + 1e-9) / 1000 if shares else 1.0


def _weight(item: Item, told: dict[Claim, int]) -> float:
    return item[1].importance if item[0] == "literals" else told.get(item[1], 1)


def _out(items: list[Item], places: list[int]) -> list[Item]:
    """The items that the block does not contain in any form. (An exact string may be in a sentence that was kept.)"""
    kept = set(places)
    shown = "\n".join(items[place][1].text for place in places if items[place][0] != "literals")
    left = (item for place, item in enumerate(items) if place not in kept)
    return [item for item in left if item[0] != "literals" or item[1].quotes[0] not in shown]


def _unnamed(g: Findings, items: list[Item], kept: list[Item]) -> int:
    """The number of exact strings that were not considered for the block and are in no sentence of it."""
    weighed = {quote for section, claim in items if section == "literals" for quote in claim.quotes}
    shown = "\n".join(claim.text for _, claim in kept)
    return sum(name not in weighed and name not in shown for name in g.named)


def _left_out(out: list[Item], passed_over: Counter[str], told: dict[Claim, int]) -> dict[str, LeftOut]:
    left: dict[str, LeftOut] = {}
    for section in SECTIONS:
        claims = [claim for kind, claim in out if kind == section]
        if count := sum(told.get(claim, 1) for claim in claims) + passed_over[section]:
            ids = dict.fromkeys(identity for claim in claims for identity in claim.contract_ids[-1:])
            left[section] = LeftOut(count, tuple(ids)[:_SOME])
    return left

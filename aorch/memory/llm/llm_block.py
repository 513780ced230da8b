"""Builds the block of the llm compressor from the model's checked claims and the local compressor's block."""

import re
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from aorch.memory import safe_text
from aorch.memory.block import SECTIONS, Claim, Compressor, LeftOut, MemoryBlock, counted, intent_of, is_given
from aorch.memory.budget import Item
from aorch.memory.literals import found, weight
from aorch.memory.llm.claim_proof import MOST_CITES, CheckedClaims
from aorch.memory.llm.excerpts import Excerpt
from aorch.memory.prompt import fitted, prompt_text

UNPROVEN, CUT = "unproven", "contents"
"""Keys of `left_out`: claims of the model that failed a check, and contracts that were shortened for the model."""

_SOME = 5
_IN_SUMMARY = ("aims", "decisions", "results")
_ADDED = ("aims", "decisions", "failures", "open_points", "literals")
_FADED, _SECOND = 0.85, 0.8
_VERBATIM = {"aims": 0, "failures": -1}
_TELLING = 80
_SAME = 0.7
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")


def block_of_claims(
    local: MemoryBlock, model: Compressor, checked: CheckedClaims, excerpts: Sequence[Excerpt], max_tokens: int
) -> MemoryBlock:
    order = {excerpt.contract_id: place for place, excerpt in enumerate(excerpts)}
    claims = _merged(checked.claims, order)
    added = _passed_over(local, claims, excerpts)
    items = [*(_second_to(added, item) for item in claims), *added]
    items.sort(key=lambda item: (SECTIONS.index(item[0]), _place(item, order)))
    packed = fitted([local], items, max_tokens)
    places = set(packed.wordings) if packed else set()
    kept = [item for place, item in enumerate(items) if place in places]
    out = [item for place, item in enumerate(items) if place not in places and not _shown(item, kept)]
    block = _with_claims(local, kept)
    after = safe_text.tokens(len(prompt_text([block], max_tokens)[0]))
    ratio = round(local.size.tokens_before / after, 2) if after else 0.0
    return replace(
        block,
        size=replace(local.size, tokens_after=after, ratio=ratio),
        compressor=model,
        quality=round(_coverage(local, kept) * checked.share, 3),
        left_out=_left_out(local, kept, out, checked, excerpts),
    )


def _with_claims(local: MemoryBlock, kept: Sequence[Item]) -> MemoryBlock:
    sections = {section: tuple(claim for kind, claim in kept if kind == section) for section in SECTIONS}
    given = is_given(local)
    parts = counted(local.covered.count, local.capabilities, local.ends)
    parts += [
        max(sections[kind], key=lambda claim: claim.importance).text.rstrip(". ")
        for kind in _IN_SUMMARY
        if sections[kind]
    ]
    intent = local.intent if given else intent_of(sections["aims"])
    return replace(local, intent=intent, summary=". ".join(parts), **sections)


def _place(item: Item, order: Mapping[str, int]) -> int:
    """The sort key: the oldest aim first, then the newest of all other claims."""
    section, claim = item
    return (
        min((order.get(one, 0) for one in claim.contract_ids), default=0)
        if section == "aims"
        else -_newest(claim, order)
    )


def _newest(claim: Claim, order: Mapping[str, int]) -> int:
    return max((order.get(identity, 0) for identity in claim.contract_ids), default=0)


def _passed_over(local: MemoryBlock, claims: Sequence[Item], excerpts: Sequence[Excerpt]) -> list[Item]:
    """The local findings that no claim of the model covers, and the exact strings of those that are covered. Therefore text
    in a contract cannot mislead the model into hiding a failure.
    """
    named = {quote for section, claim in claims if section == "literals" for quote in claim.quotes}
    added: list[Item] = []
    for section, claim in local.claims():
        if section == "literals":
            added += [(section, claim)] if named.isdisjoint(claim.quotes) else []
            named.update(claim.quotes)
        elif section not in _ADDED or _covered((section, claim), claims):
            added += [("literals", name) for name in _names(claim, named, excerpts)]
        else:
            faded = section == "decisions"  # the model may judge decisions better, but not failures
            added.append((section, replace(claim, importance=claim.importance * _FADED) if faded else claim))
    return added


def _covered(item: Item, claims: Sequence[Item]) -> bool:
    """Whether one of `claims` is in the same section, cites the same contract, and contains the important part of `item`:
    for an aim or a failure its quoted words (of a failure, the error at the end), for any other claim one of its names.
    """
    section, claim = item
    names = [name for quote in claim.quotes for name in found(quote)]
    if section in _VERBATIM and claim.quotes:
        names = [safe_text.shown(claim.quotes[_VERBATIM[section]][:_TELLING])]
    return any(
        kind == section
        and not set(claim.contract_ids).isdisjoint(one.contract_ids)
        and (not names or any(name in one.text for name in names))
        for kind, one in claims
    )


def _second_to(added: Sequence[Item], item: Item) -> Item:
    """`item`, with less importance if `added` states the same aim or failure in the words of the contract."""
    section, claim = item
    ids = {identity for kind, one in added if kind == section for identity in one.contract_ids}
    if section not in _VERBATIM or ids.isdisjoint(claim.contract_ids):
        return item
    return section, replace(claim, importance=min(claim.importance, _SECOND))


def _names(claim: Claim, named: set[str], excerpts: Sequence[Excerpt]) -> list[Claim]:
    """The exact strings among the quotations of a claim, as separate claims."""
    names: list[Claim] = []
    cited = [excerpt for excerpt in excerpts if excerpt.contract_id in claim.contract_ids]
    for name in dict.fromkeys(name for quote in claim.quotes for name in found(quote)):
        holder = next((one.contract_id for one in cited if any(name in piece for piece in one.pieces)), None)
        if holder is not None and name not in named and weight(name) >= 0.5:
            named.add(name)
            names.append(Claim(safe_text.shown(name), (holder,), (name,), round(claim.importance * 0.6, 3)))
    return names


def _shown(item: Item, kept: Sequence[Item]) -> bool:
    """Whether an exact string is in a sentence that was kept."""
    section, claim = item
    return section == "literals" and any(claim.quotes[0] in one.text for kind, one in kept if kind != "literals")


def _coverage(local: MemoryBlock, kept: Sequence[Item]) -> float:
    """The mean, over the sections with findings, of the share of the local findings that `kept` contains."""
    shares = []
    for section in SECTIONS:
        claims: tuple[Claim, ...] = getattr(local, section)
        found_there = len(claims) + (local.left_out[section].count if section in local.left_out else 0)
        if found_there:
            shares.append(1 - _missing(local, section, kept) / found_there)
    return sum(shares) / len(shares) if shares else 1.0


def _missing(local: MemoryBlock, section: str, kept: Sequence[Item]) -> int:
    """The number of local findings of a section that `kept` does not contain.

    This is the number of uncovered local claims, plus the findings that the local compressor left out, minus the additional
    claims of the model.
    """
    shown = "\n".join(claim.text for _, claim in kept)
    claims: tuple[Claim, ...] = getattr(local, section)
    if section == "literals":
        held = [claim for claim in claims if claim.quotes[0] in shown]
    else:
        held = [claim for claim in claims if _covered((section, claim), kept)]
    besides = max(0, sum(kind == section for kind, _ in kept) - len(held))
    left = local.left_out[section].count if section in local.left_out else 0
    return len(claims) - len(held) + max(0, left - besides)


def _left_out(
    local: MemoryBlock, kept: Sequence[Item], out: Sequence[Item], checked: CheckedClaims, excerpts: Sequence[Excerpt]
) -> dict[str, LeftOut]:
    left: dict[str, LeftOut] = {}
    for section in SECTIONS:
        claims = [claim for kind, claim in out if kind == section]
        if count := max(len(claims), _missing(local, section, kept)):
            ids = dict.fromkeys(identity for claim in claims for identity in claim.contract_ids[-1:])
            ids.update(dict.fromkeys(local.left_out[section].contract_ids if section in local.left_out else ()))
            left[section] = LeftOut(count, tuple(ids)[:_SOME])
    if checked.faults:
        left[UNPROVEN] = LeftOut(checked.faults.total(), tuple(checked.suspect_ids)[:_SOME])
    cut = [excerpt.contract_id for excerpt in excerpts if excerpt.cut]
    if cut:
        left[CUT] = LeftOut(len(cut), tuple(cut)[:_SOME])
    return left


def _merged(claims: Sequence[Item], order: Mapping[str, int]) -> list[Item]:
    """`claims` without duplicates, in the most important wording. `order` is the index of each contract in the session.

    Two claims are duplicates if they are in the same section, have the same identifiers and numbers, and share most words.
    """
    kept: list[tuple[str, Claim, frozenset[str], frozenset[str]]] = []
    for section, claim in sorted(claims, key=lambda item: -item[1].importance):
        words = frozenset(_WORD.findall(claim.text.lower()))
        names = frozenset((*found(claim.text), *_NUMBER.findall(claim.text)))
        for place, (kind, other, others, other_names) in enumerate(kept):
            if kind == section and names == other_names and _alike(words, others):
                kept[place] = (kind, _joined(other, claim, order), others, other_names)
                break
        else:
            kept.append((section, claim, words, names))
    return [(section, claim) for section, claim, _, _ in kept]


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= _SAME * len(one | other)


def _joined(claim: Claim, other: Claim, order: Mapping[str, int]) -> Claim:
    """`claim` with the newest citations of both. The citations of `claim` itself are kept, because its quotations need them."""
    more = sorted(set(other.contract_ids) - set(claim.contract_ids), key=lambda identity: -order.get(identity, 0))
    return replace(claim, contract_ids=(*claim.contract_ids, *more)[:MOST_CITES])

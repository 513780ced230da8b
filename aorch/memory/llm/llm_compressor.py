"""The llm compressor: a model says what a session came to, every claim of it is put to the proof, and what it passes over
is added by the local compressor, which also stands in where the model fails.

Sessions longer than the model's window are read window by window, always from contracts. What the windows gave is ranked
and freed of doubles, and never summarised again.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from aorch.errors import ServiceUnreachable
from aorch.memory import compress, prompt
from aorch.memory import text as texts
from aorch.memory.block import SECTIONS, Claim, Compressor, LeftOut, MemoryBlock, counted, intent_of, is_given
from aorch.memory.budget import Item
from aorch.memory.literals import found, weight
from aorch.memory.llm.claim_proof import Proven, prove
from aorch.memory.llm.excerpts import Excerpt, Excerpts
from aorch.memory.llm.llm_client import Llm
from aorch.memory.llm.merging import merged
from aorch.memory.llm.questions import MOST_OUTPUT_TOKENS, OVERHEAD_TOKENS, SCHEMA, SYSTEM, question
from aorch.memory.prompt import fitted

NAME, VERSION = "llm", "1"
UNPROVEN, CUT = "unproven", "contents"
"""In `left_out`: claims of the model's that did not hold, and contracts whose contents were cut before it saw them."""

_AT_ONCE = 4
_SOME = 5
_TOLD = ("aims", "decisions", "results")
_ADDED = ("aims", "decisions", "failures", "open_points", "literals")
_FADED, _SECOND = 0.85, 0.8
_VERBATIM = {"aims": 0, "failures": -1}
_TELLING = 80


async def compress_by_llm(
    contracts: Iterable[Mapping[str, Any]],
    llm: Llm,
    *,
    block_id: str,
    created_at: str,
    session_id: str = "",
    intent: str | None = None,
    max_tokens: int = 512,
    asked_before: Iterable[str] = (),
) -> MemoryBlock:
    """The memory of `contracts`, as `aorch.memory.compress` takes them: of one session, oldest first, read once
    (in another thread).

    Where the model fails in any way, the local compressor's block, whose compressor is a Compressor. `quality` is the local
    compressor's measure of what it found and the block holds, times the share of the model's claims that held.
    """
    config = llm.config
    excerpts = Excerpts(config.max_input_tokens - OVERHEAD_TOKENS, config.max_requests, set(asked_before))
    # in a thread: ten thousand contracts are a second's work
    local = await asyncio.to_thread(
        compress,
        excerpts.tapped(contracts),
        block_id=block_id,
        created_at=created_at,
        session_id=session_id,
        intent=intent,
        max_tokens=max_tokens,
        asked_before=asked_before,
    )
    windows = excerpts.windows()
    if excerpts.too_many or len(windows) > config.max_requests:
        return _stood_in(
            local,
            f"the session is longer than {config.max_requests} requests of {config.max_input_tokens} tokens "
            "(`max_requests` and `max_input_tokens` in [llm])",
        )
    if not windows:
        return local
    try:
        proven = await _asked(llm, windows, intent)
    except ServiceUnreachable as error:
        return _stood_in(local, str(error))
    if not proven.claims:
        return _stood_in(local, f"{config.model} made no claim that holds")
    model = Compressor(NAME, VERSION, config.model)
    return await asyncio.to_thread(_block, local, model, proven, excerpts.listed, max_tokens)


def _stood_in(local: MemoryBlock, reason: str) -> MemoryBlock:
    return replace(local, compressor=Compressor(local.compressor.name, local.compressor.version, "", reason))


async def _asked(llm: Llm, windows: Sequence[Sequence[Excerpt]], intent: str | None) -> Proven:
    """The claims of all windows that hold. Raises ServiceUnreachable with the first window that fails."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def ask(window: Sequence[Excerpt]) -> dict[str, Any]:
        async with gate:
            return await llm.ask(SYSTEM, question(window, intent), SCHEMA, MOST_OUTPUT_TOKENS)

    tasks = [asyncio.ensure_future(ask(window)) for window in windows]
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    proven = Proven()
    for answer, window in zip(answers, windows, strict=True):
        await asyncio.to_thread(prove, answer, window, proven)
    return proven


def _block(
    local: MemoryBlock, model: Compressor, proven: Proven, excerpts: Sequence[Excerpt], max_tokens: int
) -> MemoryBlock:
    order = {excerpt.contract_id: place for place, excerpt in enumerate(excerpts)}
    claims = merged(proven.claims, order)
    added = _passed_over(local, claims, excerpts)
    items = [*(_second_to(added, item) for item in claims), *added]
    items.sort(key=lambda item: (SECTIONS.index(item[0]), _place(item, order)))
    packed = fitted([local], items, max_tokens)
    places = set(packed.wordings) if packed else set()
    kept = [item for place, item in enumerate(items) if place in places]
    out = [item for place, item in enumerate(items) if place not in places and not _shown(item, kept)]
    block = _with_claims(local, kept)
    after = texts.tokens(len(prompt([block], max_tokens)[0]))
    ratio = round(local.size.tokens_before / after, 2) if after else 0.0
    return replace(
        block,
        size=replace(local.size, tokens_after=after, ratio=ratio),
        compressor=model,
        quality=round(_coverage(local, kept) * proven.share, 3),
        left_out=_left_out(local, kept, out, proven, excerpts),
    )


def _with_claims(local: MemoryBlock, kept: Sequence[Item]) -> MemoryBlock:
    sections = {section: tuple(claim for kind, claim in kept if kind == section) for section in SECTIONS}
    given = is_given(local)
    parts = counted(local.covered.count, local.capabilities, local.ends)
    parts += [
        max(sections[kind], key=lambda claim: claim.importance).text.rstrip(". ") for kind in _TOLD if sections[kind]
    ]
    intent = local.intent if given else intent_of(sections["aims"])
    return replace(local, intent=intent, summary=". ".join(parts), **sections)


def _place(item: Item, order: Mapping[str, int]) -> int:
    """The first aim comes first, of everything else the newest."""
    section, claim = item
    return (
        min((order.get(one, 0) for one in claim.contract_ids), default=0)
        if section == "aims"
        else -_newest(claim, order)
    )


def _newest(claim: Claim, order: Mapping[str, int]) -> int:
    return max((order.get(identity, 0) for identity in claim.contract_ids), default=0)


def _passed_over(local: MemoryBlock, claims: Sequence[Item], excerpts: Sequence[Excerpt]) -> list[Item]:
    """What the local compressor holds for worth keeping and no claim of the model's covers; and the exact strings of what
    they do cover. A model that was talked out of a failure does not hide it.
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
            faded = section == "decisions"  # a model may know better what was decided; not what failed
            added.append((section, replace(claim, importance=claim.importance * _FADED) if faded else claim))
    return added


def _covered(item: Item, claims: Sequence[Item]) -> bool:
    """Whether one of `claims` is of the same kind, cites the same contract, and says what tells in it: of an aim or a
    failure its own words (the local compressor quotes the error last), of anything else one of its names.
    """
    section, claim = item
    names = [name for quote in claim.quotes for name in found(quote)]
    if section in _VERBATIM and claim.quotes:
        names = [texts.shown(claim.quotes[_VERBATIM[section]][:_TELLING])]
    return any(
        kind == section
        and not set(claim.contract_ids).isdisjoint(one.contract_ids)
        and (not names or any(name in one.text for name in names))
        for kind, one in claims
    )


def _second_to(added: Sequence[Item], item: Item) -> Item:
    """`item` with less weight where the record's own words for the same aim or failure are `added`."""
    section, claim = item
    ids = {identity for kind, one in added if kind == section for identity in one.contract_ids}
    if section not in _VERBATIM or ids.isdisjoint(claim.contract_ids):
        return item
    return section, replace(claim, importance=min(claim.importance, _SECOND))


def _names(claim: Claim, named: set[str], excerpts: Sequence[Excerpt]) -> list[Claim]:
    """The identifiers among a claim's quotations, as claims of their own."""
    names: list[Claim] = []
    cited = [excerpt for excerpt in excerpts if excerpt.contract_id in claim.contract_ids]
    for name in dict.fromkeys(name for quote in claim.quotes for name in found(quote)):
        holder = next((one.contract_id for one in cited if any(name in piece for piece in one.pieces)), None)
        if holder is not None and name not in named and weight(name) >= 0.5:
            named.add(name)
            names.append(Claim(texts.shown(name), (holder,), (name,), round(claim.importance * 0.6, 3)))
    return names


def _shown(item: Item, kept: Sequence[Item]) -> bool:
    """Whether an exact string stands in a sentence that was kept."""
    section, claim = item
    return section == "literals" and any(claim.quotes[0] in one.text for kind, one in kept if kind != "literals")


def _coverage(local: MemoryBlock, kept: Sequence[Item]) -> float:
    """The mean, over the kinds that occurred, of the share of what the local compressor found that `kept` holds."""
    shares = []
    for section in SECTIONS:
        claims: tuple[Claim, ...] = getattr(local, section)
        found_there = len(claims) + (local.left_out[section].count if section in local.left_out else 0)
        if found_there:
            shares.append(1 - _missing(local, section, kept) / found_there)
    return sum(shares) / len(shares) if shares else 1.0


def _missing(local: MemoryBlock, section: str, kept: Sequence[Item]) -> int:
    """How much of what the local compressor found of a kind is not in `kept`: of its claims those that are not covered; of
    what it left out itself as much as the model does not tell besides.
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
    local: MemoryBlock, kept: Sequence[Item], out: Sequence[Item], proven: Proven, excerpts: Sequence[Excerpt]
) -> dict[str, LeftOut]:
    left: dict[str, LeftOut] = {}
    for section in SECTIONS:
        claims = [claim for kind, claim in out if kind == section]
        if count := max(len(claims), _missing(local, section, kept)):
            ids = dict.fromkeys(identity for claim in claims for identity in claim.contract_ids[-1:])
            ids.update(dict.fromkeys(local.left_out[section].contract_ids if section in local.left_out else ()))
            left[section] = LeftOut(count, tuple(ids)[:_SOME])
    if proven.faults:
        left[UNPROVEN] = LeftOut(proven.faults.total(), tuple(proven.suspect_ids)[:_SOME])
    cut = [excerpt.contract_id for excerpt in excerpts if excerpt.cut]
    if cut:
        left[CUT] = LeftOut(len(cut), tuple(cut)[:_SOME])
    return left

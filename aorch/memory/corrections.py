"""What people have corrected in the memory of a session, and how it changes blocks: when they are made and when they are read.

A stored block never changes because of a correction, so that each can be undone.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
from msgspec.structs import replace

from aorch.ledger.stored_corrections import FORGET, NOTE, PIN, UNDO, StoredCorrection
from aorch.memory import safe_text
from aorch.memory.block import SECTIONS, Claim, MemoryBlock, claim_id, with_claims
from aorch.memory.budget import Item
from aorch.memory.prompt import resized

ACTIONS = {PIN: "pin", NOTE: "note", FORGET: "forget"}
"""The names of corrections, by their capability."""
LONGEST_NOTE = 500
_WORD = re.compile(r"\w+")
_QUOTING = 0.5
"""From this share of quoted characters on, a claim states what it quotes, whoever said it."""


class ClaimPayload(msgspec.Struct, frozen=True):
    """The payload of a pin or of a `forget`: a claim and its section."""

    section: str
    text: str
    contract_ids: tuple[str, ...]
    quotes: tuple[str, ...] = ()
    importance: float = 0.5
    brief: str = ""
    number: int = 0
    places: tuple[int, ...] = ()

    def claim(self) -> Claim:
        """The claim. Its texts are safe to show, even if another program wrote the payload."""
        wording, brief = _safe(self.text), _safe(self.brief)
        return Claim(wording, self.contract_ids, self.quotes, self.importance, brief, self.number, self.places)


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction that applies. `action` is pin, note or forget; `contract_id` that of its REQUEST; `claim` what it is about."""

    contract_id: str
    session_id: str
    action: str
    created_at: str
    by: str
    section: str
    claim: Claim

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "contract_id": self.contract_id,
            "session_id": self.session_id,
            "action": self.action,
            "created_at": self.created_at,
            "by": self.by,
            "claim_id": claim_id(self.claim),
            "section": self.section,
            "text": self.claim.text,
            "contract_ids": self.claim.contract_ids,
        }


def applying(stored: Iterable[StoredCorrection]) -> list[Correction]:
    """Those of a session's corrections (oldest first) that apply: neither undone nor erased. Of several about the same claim,
    the newest applies.
    """
    stored = list(stored)
    undone = {each.payload.get("undoes") for each in stored if each.action == UNDO}
    found: dict[str, Correction] = {}
    for each in stored:
        if each.contract_id not in undone and each.action != UNDO and (correction := _correction(each)) is not None:
            key = claim_id(correction.claim)
            found.pop(key, None)
            found[key] = correction
    return list(found.values())


def _correction(stored: StoredCorrection) -> Correction | None:
    if stored.action == NOTE:
        text = stored.payload.get("text")
        if not isinstance(text, str) or not text:
            return None
        section, claim = "notes", note_claim(stored.contract_id, text)
    else:
        try:
            payload = msgspec.convert(stored.payload, ClaimPayload)
        except msgspec.ValidationError:  # erased, or written by another program
            return None
        section, claim = payload.section, payload.claim()
    return Correction(
        stored.contract_id,
        stored.session_id,
        ACTIONS[stored.action],
        stored.created_at,
        stored.from_agent,
        section,
        claim,
    )


def note_claim(contract_id: str, text: str) -> Claim:
    """A note as a claim that cites its own contract."""
    shown, exact = safe_text.quoted(safe_text.first_line(text), LONGEST_NOTE)
    return Claim(shown, (contract_id,), (exact,), 1.0)


def _safe(text: str) -> str:
    for unsafe, safe in (("</", "‹/"), ("<|", "‹|"), ("<memory", "‹memory")):
        text = text.replace(unsafe, safe)
    return text if text.isprintable() else " ".join(safe_text.lines(text))


class Corrections:
    """The corrections that apply to a session, oldest first."""

    def __init__(self, corrections: Sequence[Correction] = ()) -> None:
        self.all = corrections
        self.pinned, self._noted, self.forgotten = (
            [(one.section, one.claim) for one in corrections if one.action == action]
            for action in ("pin", "note", "forget")
        )

    @cached_property
    def notes(self) -> tuple[Claim, ...]:
        """The notes, as claims."""
        return tuple(claim for section, claim in self._noted if not self.forgets(section, claim))

    @property
    def kept(self) -> tuple[Claim, ...]:
        """The pins and the notes."""
        return (*(claim for _, claim in self.pinned), *self.notes)

    @cached_property
    def _pinned_ids(self) -> set[str]:
        return {claim_id(claim) for _, claim in self.pinned}

    def forgets(self, section: str, claim: Claim) -> bool:
        """Whether that claim is one that was forgotten, or states the same."""
        item = (section, claim)
        return any(is_same(item, one) for one in self.forgotten) and claim_id(claim) not in self._pinned_ids

    def seen(self, block: MemoryBlock) -> MemoryBlock:
        """A stored block as readers see it: without forgotten claims, and without pins and notes that were undone."""
        noted = {claim_id(claim) for claim in self.notes}
        kept = {
            "pinned": tuple(claim for claim in block.pinned if claim_id(claim) in self._pinned_ids),
            "notes": tuple(claim for claim in block.notes if claim_id(claim) in noted),
        }
        if self.forgotten:
            kept |= _without(block, self.forgets)
        if all(getattr(block, section) == claims for section, claims in kept.items()):
            return block
        return with_claims(block, kept)

    def for_prompt(self, blocks: Sequence[MemoryBlock]) -> list[MemoryBlock]:
        """The blocks of the session, oldest first, for a prompt: pins and notes are in the newest one only."""
        if not self.all:
            return list(blocks)
        seen = [
            replace(block, pinned=(), notes=(), **_without(block, self._is_pinned)) for block in map(self.seen, blocks)
        ]
        if seen:
            pinned = tuple(claim for _, claim in self.pinned)
            seen[-1] = replace(seen[-1], pinned=pinned, notes=self.notes)
        return seen

    def _is_pinned(self, section: str, claim: Claim) -> bool:
        return any(is_same((section, claim), one) for one in self.pinned)

    def applied(self, block: MemoryBlock, max_tokens: int) -> MemoryBlock:
        """A new block with the pins and notes, and without forgotten claims."""
        if not self.all:
            return block
        block = with_claims(block, {"pinned": tuple(claim for _, claim in self.pinned), "notes": self.notes})
        return resized(
            with_claims(block, _without(block, lambda *item: self.forgets(*item) or self._is_pinned(*item))), max_tokens
        )


def _without(block: MemoryBlock, drops: Callable[[str, Claim], bool]) -> dict[str, tuple[Claim, ...]]:
    """The lists of `block` without some claims."""
    return {
        section: tuple(claim for claim in getattr(block, section) if not drops(section, claim)) for section in SECTIONS
    }


def is_same(item: Item, other: Item) -> bool:
    """Whether two claims state the same: the same exact string, the same words, or a quotation of the same words."""
    (section, claim), (other_section, other_claim) = item, other
    if (section == "literals") != (other_section == "literals"):
        return False
    if section == "literals":
        return claim.quotes == other_claim.quotes if claim.quotes else claim.text == other_claim.text
    if _words(claim.text) == _words(other_claim.text):
        return True
    return _quotes_only(claim) and _quotes_only(other_claim) and _quoted(claim) == _quoted(other_claim)


def _quotes_only(claim: Claim) -> bool:
    return sum(map(len, claim.quotes)) >= _QUOTING * len(claim.text)


def _quoted(claim: Claim) -> list[str]:
    return _words(" ".join(claim.quotes))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())

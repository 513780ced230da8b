"""What a new block changes for a reader of a session's memory: claims that it adds, drops and rewords in a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aorch.memory.block import Claim, MemoryBlock, claim_id
from aorch.memory.budget import Item
from aorch.memory.prompt import session_prompt

ANSWERED, NO_ROOM = "answered", "no room"
"""Why a claim is dropped: the new block answers it; or claims that matter more take its place within the limit."""


@dataclass(frozen=True, slots=True)
class Change:
    """A claim that a block adds (`before` is empty), drops (`after` is empty) or rewords. `reason`: why it is dropped."""

    section: str
    claim: Claim
    before: str
    after: str
    reason: str = ""

    @property
    def kind(self) -> str:
        """`added`, `dropped` or `reworded`."""
        return "reworded" if self.before and self.after else "added" if self.after else "dropped"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "change": self.kind,
            "section": self.section,
            "claim_id": claim_id(self.claim),
            "before": self.before or None,
            "after": self.after or None,
            "reason": self.reason or None,
            "contract_ids": self.claim.contract_ids,
        }


def changes(before: Sequence[MemoryBlock], after: Sequence[MemoryBlock], max_tokens: int) -> list[Change]:
    """How a prompt of at most `max_tokens` changes from the blocks `before` to those `after`: what is added, in the order of
    the prompt, then what is reworded, then what is dropped.
    """
    old, new = (_by_id(blocks, max_tokens) for blocks in (before, after))
    answered = {each for block in after[len(before) :] for each in block.answered_before}
    found = [
        Change(section, claim, old[key][1] if key in old else "", wording)
        for key, ((section, claim), wording) in new.items()
        if key not in old or old[key][1] != wording
    ]
    for key, ((section, claim), wording) in old.items():
        if key not in new:
            is_answered = section == "open_points" and not answered.isdisjoint(claim.contract_ids)
            found.append(Change(section, claim, wording, "", ANSWERED if is_answered else NO_ROOM))
    return sorted(found, key=lambda change: ("added", "reworded", "dropped").index(change.kind))


def _by_id(blocks: Sequence[MemoryBlock], max_tokens: int) -> dict[str, tuple[Item, str]]:
    """The claims in the prompt of these blocks, each with its wording, by their IDs (their importance changes with their age).
    An exact string is the same whichever contract it cites.
    """
    shown = session_prompt(blocks[::-1], max_tokens) if blocks else None
    wordings = shown.wordings if shown else {}
    return {
        wording if item[0] == "literals" else claim_id(item[1]): (item, wording) for item, wording in wordings.items()
    }

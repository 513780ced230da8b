"""The claims of a session's blocks in one list: those of older blocks are less important, and what was answered since is left
out.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from aorch.memory import safe_text
from aorch.memory.block import BY_PEOPLE, NOT_ANSWERED, Claim, MemoryBlock, cites_end
from aorch.memory.budget import END, LAST_CALL, VITAL, Item

_ONCE_LAST = 0.5
"""Importance of the end of a block when there is a newer block."""
_FADING = 0.8
_AGEING, _AGEING_OF_FAILURES = 0.005, 0.002
"""What a vital claim loses with each newer block. Kinds of failures in a block differ by as little: they come before changes."""
_MOST_VITAL, _FEW_VITAL = 14, 6
_LATER_AIM = 0.5


def aged_claims(newest_first: Sequence[MemoryBlock], answered_later: Iterable[str]) -> list[tuple[Item, int]]:
    """All claims, each with the age of its block (0: the newest), aims first. Claims of older blocks are less important, except
    for the first aim. Aims of later blocks belong to the work.

    Open points are left out if a later contract answers them (`answered_later`: one that no block covers), or if an agent has
    acted on them since.
    """
    items: list[tuple[Item, int]] = []
    aims: list[tuple[Item, int]] = []
    answered = set(answered_later)
    names: set[str] = set()
    later: set[str] = set()
    vital: Counter[str] = Counter()
    for age, block in enumerate(newest_first):
        is_first, is_newest, last_id = age == len(newest_first) - 1, age == 0, block.covered.last_contract_id
        for section, claim in block.claims():
            if section in BY_PEOPLE:
                continue
            if section == "open_points" and (answered.intersection(claim.contract_ids) or _is_acted_on(claim, later)):
                continue
            if section == "literals" and names.intersection(claim.quotes):
                continue
            names.update(claim.quotes if section == "literals" else ())
            if section == "aims" and is_first:
                aims.append(((section, claim), age))
            elif section == "aims":
                items.append((("preferences", _asked_later(claim)), age))
            else:
                was_end = not is_newest and claim.importance == END and cites_end(claim, last_id)
                was_last = not is_newest and claim.importance == LAST_CALL and section == "results"
                now = replace(claim, importance=_ONCE_LAST) if was_end or was_last else claim
                items.append(((section, _faded(section, now, age, vital)), age))
        answered.update(block.answered_before)
        later.update(block.agents)
    return aims + items


def _asked_later(aim: Claim) -> Claim:
    """What was asked after the session had begun."""
    if not aim.text.startswith("«"):
        return replace(aim, importance=_LATER_AIM)
    return replace(aim, text=f"asked: {aim.text}", brief=aim.brief and f"asked: {aim.brief}", importance=_LATER_AIM)


def _faded(section: str, claim: Claim, age: int, vital: Counter[str]) -> Claim:
    """`claim` with the importance that it has among newer ones: the newest vital claims of a section stay vital."""
    if claim.importance >= VITAL:
        vital[section] += 1
        if vital[section] <= (_MOST_VITAL if section in ("failures", "decisions") else _FEW_VITAL):
            loss = age * (_AGEING_OF_FAILURES if section == "failures" else _AGEING)
            return replace(claim, importance=max(VITAL, claim.importance - loss)) if age else claim
    return replace(claim, importance=claim.importance * (0.5 + 0.5 * _FADING**age)) if age else claim


def _is_acted_on(claim: Claim, later: set[str]) -> bool:
    """Whether another agent acted in later blocks, for a claim that an agent was not answered."""
    who, _, _ = claim.text.partition(" said «")
    return claim.text.endswith(NOT_ANSWERED) and any(safe_text.shown(agent) != who for agent in later)

"""Claims from several windows made one list: what says the same is said once, with the citations of both."""

import re
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from aorch.memory.block import Claim
from aorch.memory.budget import Item
from aorch.memory.literals import found
from aorch.memory.llm.claim_proof import MOST_CITES

_SAME = 0.7
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")


def merged(claims: Sequence[Item], order: Mapping[str, int]) -> list[Item]:
    """`claims`, the weightiest wording of each; `order` is the place of each contract in the session.

    Two say the same where they are of one section, name the same identifiers and numbers, and share most of their words.
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
    """`claim` with the newest citations of both. Quotations of `claim` keep theirs."""
    more = sorted(set(other.contract_ids) - set(claim.contract_ids), key=lambda identity: -order.get(identity, 0))
    return replace(claim, contract_ids=(*claim.contract_ids, *more)[:MOST_CITES])

"""Shows what an agent said in a contract as one quotation, in the order of its sentences."""

import re
from collections.abc import Iterable, Iterator

from aorch.memory.block import Claim

SAID = ": «"
"""What stands between who says something and the first quotation."""
_PART = re.compile(r"«[^«»]*»[^«»]*")
_MARKS = "«»… "
_ENDS = tuple(f"{end}»" for end in ".!?…:;,。！？：；，")
"""How a quotation ends that the next sentence continues; after the item of a list, a new quotation begins."""


def merged(wordings: Iterable[tuple[Claim, str]]) -> str:
    """The quotations in wordings of claims about one contract, each claim with its wording, in the order of the sentences.

    Sentences that follow each other become one quotation, with `…` where others are left out.
    """
    placed = sorted((part for claim, wording in wordings for part in _placed(claim, wording)), key=lambda pair: pair[0])
    text, before = "", 0
    for place, part in dict.fromkeys(placed):
        is_next = place <= before + 1 or text.endswith("…»")
        if text.endswith("»") and before and place and (not is_next or text.endswith(_ENDS)):
            text = f"{text[:-1]}{' ' if is_next else ' … '}{part[1:]}"
        else:
            text = f"{text} {part}" if text else part
        before = place
    return text


def _placed(claim: Claim, wording: str) -> Iterator[tuple[int, str]]:
    """Each quotation in a wording with its place; one without an own place has that of the one before it."""
    whole = [part.strip(_MARKS) for part in _PART.findall(claim.text)]
    place = min(claim.places, default=0)
    for part in _PART.findall(wording):
        start = part.partition("»")[0].strip(_MARKS)
        found = (own for own, text in zip(claim.places, whole, strict=False) if text.startswith(start))
        place = next(found, place)
        yield place, part.strip()

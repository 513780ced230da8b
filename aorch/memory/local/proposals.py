"""Finds what agents propose and people choose from or agree to: without it, the reply cannot be understood."""

from collections import defaultdict
from collections.abc import Iterable

from aorch.memory.local.sentence_kinds import chooses, confirms, is_leaning
from aorch.memory.local.spoken_sentences import SpokenSentence

Place = tuple[int, int]
"""The number of a contract, and the order of a sentence in it."""

_OPTIONS, AGREED = 0.851, 0.845
"""Importance of a list of options, which is vital, and of another proposal, which comes before most sentences."""


def proposals(sentences: Iterable[SpokenSentence]) -> dict[Place, float]:
    """The proposals of agents on which a caller decides in the next contract, with their importance: each list of options from
    which the caller chooses, and the best sentence of a text to which the caller agrees.
    """
    said: defaultdict[int, list[SpokenSentence]] = defaultdict(list)
    replies: defaultdict[int, list[SpokenSentence]] = defaultdict(list)
    for one in sentences:
        (replies if one.by_caller else said)[one.number].append(one)
    places: dict[Place, float] = {}
    for number, told in said.items():
        reply = replies.get(number + 1, [])
        offers = [one for one in told if one.follows and any(_is_about(other, one) for other in reply)]
        places.update(((one.number, one.order), _OPTIONS) for one in offers)
        places.update(
            ((one.number, one.order), _OPTIONS) for one in reply if any(_is_about(one, other) for other in offers)
        )
        if not offers and any(confirms(other.sentence) for other in reply):
            named = {name for other in reply for name in other.names}
            best = max(told, key=lambda one: (not named.isdisjoint(one.names), not _leans(one), one.worth, one.order))
            places[best.number, best.order] = AGREED
    return places


def _leans(one: SpokenSentence) -> bool:
    """Whether a sentence does not say what is proposed: `Please confirm if you would like to proceed with this upgrade.`"""
    return not one.before and is_leaning(one.sentence)


def _is_about(reply: SpokenSentence, offer: SpokenSentence) -> bool:
    return chooses(reply.sentence) or not set(reply.names).isdisjoint(offer.names)

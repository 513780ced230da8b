"""Which values of a result are spoken of later: those on which an answer, or a refusal, rests."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from aorch.memory.contract_content import Leaf
from aorch.memory.local.question_scores import words_of
from aorch.memory.local.sentence_kinds import justifies, refuses
from aorch.memory.local.spoken_sentences import SpokenSentence

_LONGEST = 40
"""Characters of a value that is a state or a name, and no text."""
_BETWEEN = re.compile(r"(?<=[a-z])(?=[A-Z])")
"""Where a word begins in a key such as `flightType`."""
_SWITCHES = frozenset(("yes", "no", "true", "false", "on", "off", "none"))
"""Values that say nothing without their key."""
_CONTENT = 3
"""Letters of a word that says what a key is about."""
_FIGURE, _ID = 3, 0.9
"""Digits of a figure by which a caller names something, and the worth of an identifier."""
_EXACT = 0.5
"""The worth of a value from which it is an identifier, a date or a name, which tells nothing by itself."""


class Mentions:
    """The words of spoken sentences, each with the last contract that has it."""

    def __init__(self, said: Sequence[SpokenSentence]) -> None:
        self._said = said

    @cached_property
    def _last(self) -> dict[str, int]:
        return _last_said(self._said)

    @cached_property
    def _reasons(self) -> dict[str, int]:
        of_agents = (one for one in self._said if not one.by_caller)
        return _last_said(one for one in of_agents if refuses(one.sentence) or justifies(one.sentence))

    @cached_property
    def _words_of_callers(self) -> set[str]:
        return {word for one in self._said if one.by_caller for word in words_of(one.whole)}

    def has(self, leaf: Leaf, number: int) -> bool:
        """Whether a sentence after that contract speaks of the value: it has its words, or those of its key if the value is only
        `yes` or a number.
        """
        return _is_said(leaf, number, self._last)

    def explain(self, leaf: Leaf, number: int) -> bool:
        """Whether it is a state of which an agent speaks when it refuses something, or gives a reason."""
        return _is_state(leaf) and _is_said(leaf, number, self._reasons)

    def named(self, results: Sequence[Leaf]) -> list[Leaf]:
        """The figures by which a caller names something (`the card ending in 7334`), each with the IDs of the same object."""
        told = {leaf.text for leaf in results if _is_figure(leaf) and leaf.text in self._words_of_callers}
        objects = _objects(results) if told else ()
        named = [
            one for one in objects if any(leaf.text in told for leaf in one) and any(leaf.worth >= _ID for leaf in one)
        ]
        return [leaf for one in named for leaf in one if leaf.worth >= _ID or leaf.text in self._words_of_callers]


def _is_figure(leaf: Leaf) -> bool:
    return len(leaf.text) >= _FIGURE and leaf.text.isdigit()


def _objects(results: Iterable[Leaf]) -> list[list[Leaf]]:
    """The values of each object in a result. An object has each key once."""
    objects: list[list[Leaf]] = []
    for leaf in results:
        before = objects[-1] if objects else []
        if (
            not before
            or (leaf.top, leaf.group) != (before[0].top, before[0].group)
            or leaf.key in {one.key for one in before}
        ):
            objects.append([])
        objects[-1].append(leaf)
    return objects


def _last_said(said: Iterable[SpokenSentence]) -> dict[str, int]:
    words: dict[str, int] = {}
    for one in sorted(said, key=lambda one: one.number):
        words.update(dict.fromkeys(words_of(one.whole), one.number))
    return words


def _is_state(leaf: Leaf) -> bool:
    return not (leaf.is_string and leaf.worth >= _EXACT) and not leaf.text.isdigit()


def _is_said(leaf: Leaf, number: int, last: Mapping[str, int]) -> bool:
    if not last or len(leaf.text) > _LONGEST or leaf.more:
        return False
    if leaf.text.lower() in _SWITCHES or (not leaf.is_string and len(leaf.text) == 1):
        words = [word for word in words_of(_BETWEEN.sub(" ", leaf.key)) if len(word) >= _CONTENT]
    else:
        words = words_of(leaf.text)
    return bool(words) and all(last.get(word, 0) > number for word in words)

"""Collects exact strings (identifiers, paths, dates, names) with what they are worth to a reader."""

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from aorch.memory.contract_content import Leaf
from aorch.memory.literals import found, is_whole, weight

MOST_NAMED = 3000
_NAMED = 0.5
"""Least worth of a value that is an exact string as a whole."""
_TELLING = 0.6
"""Least weight of a value of a result that is an exact string."""
_UNTELLING = frozenset(("id", "key", "name", "value", "text"))
"""Keys that say nothing about their value: the key above them is its label."""
_MARKS = "@$_"


class ExactString(NamedTuple):
    """An exact string: its worth, its first key, and the contract in which it occurs first."""

    worth: float
    label: str
    contract_id: str


Named = dict[str, ExactString]


def name_arguments(named: Named, arguments: Iterable[Leaf], contract_id: str, *, is_change: bool) -> None:
    """Add the exact strings of a call; those of a call that changes something are more important."""
    factor = 1.0 if is_change else 0.7
    for leaf in arguments:
        if " " in leaf.text and not is_whole(leaf.text):
            for name in found(leaf.text)[:8]:
                if name.isalpha():  # a keyword of a statement, which says nothing without it
                    continue
                add_name(named, name, 0.5 * factor * weight(name), "", contract_id)
        elif leaf.is_string and leaf.worth >= _NAMED:
            add_name(named, leaf.text, factor * leaf.worth, _label(leaf), contract_id)


def name_results(named: Named, results: Iterable[Leaf], contract_id: str) -> None:
    """Add the exact strings of a result. The fewer there are, the more important is each of them."""
    telling = [leaf for leaf in results if leaf.is_string and _is_exact(leaf.text)]
    for leaf in telling:
        factor = (0.12 if weight(leaf.text) == 1 else 0.05) * min(1.0, 8 / len(telling))
        add_name(named, leaf.text, factor, _label(leaf), contract_id)


def _is_exact(text: str) -> bool:
    return (" " not in text and not text.startswith("<") and weight(text) >= _TELLING) or is_whole(text)  # no tag


def _label(leaf: Leaf) -> str:
    """The key that tells what an exact string is, without the marks of a format (`@id`, `$ref`)."""
    key = leaf.key.lstrip(_MARKS)
    return leaf.top.lstrip(_MARKS) if key in _UNTELLING else key


def add_name(named: Named, name: str, worth: float, label: str, contract_id: str) -> None:
    """Add an exact string, or its worth to the one that is known. It cites its first occurrence, or its first one under a key."""
    known = named.get(name)
    if known is None:
        named[name] = ExactString(worth, label, contract_id)
        return
    first = known if known.label or not label else ExactString(0.0, label, contract_id)
    named[name] = first._replace(worth=known.worth + worth)


def forget_least(named: Named) -> int:
    """If there are more than MOST_NAMED, forget the less important half. Return the number of those."""
    if len(named) <= MOST_NAMED:
        return 0
    least = heapq.nsmallest(MOST_NAMED // 2, named.items(), key=lambda item: item[1].worth)
    for word, _ in least:
        del named[word]
    return len(least)

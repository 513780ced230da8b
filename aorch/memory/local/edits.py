"""Finds in the arguments of an edit the lines that are new: those that neither the replaced text nor the file before it has."""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from aorch.memory import safe_text
from aorch.memory.contract_content import Leaf, is_data
from aorch.memory.differences import MOST_CHANGED, TELLING, WIDEST_CHANGED

_OLD, _NEW = ("old", "search", "find", "before"), ("new", "replace", "after")
"""How the keys of the replaced text and of the new one begin, in edits that have both."""
_PLACES, _LONGEST_PLACE = ("path", "file"), 400
"""What the keys of the place of an edit contain, and characters of a path: a longer value of `file_text` is what was written."""
_IMPORT = re.compile(r"(?:import|from|use|using|package|require|include)\b|#!|#include\b|\"use strict\"")
_MOST_VERSIONS, _MOST_OF_VERSION = 100, 400
"""Files and unfinished edits whose lines are remembered, and their lines."""


@dataclass
class Edits:
    """What edits wrote: by file, the lines of the newest one that succeeded, and by the ID of its REQUEST, the file and the lines
    of one that is not answered yet.
    """

    written: dict[str, Set[str]] = field(default_factory=dict)
    begun: dict[str, tuple[str, Set[str]]] = field(default_factory=dict)

    def end(self, request_id: str, *, failed: bool) -> None:
        """Remember the lines of an edit if it succeeded."""
        place, lines = self.begun.pop(request_id, ("", frozenset()))
        if place and not failed:
            self.written.pop(place, None)
            self.written[place] = lines
            if len(self.written) > _MOST_VERSIONS:
                del self.written[next(iter(self.written))]

    def with_new_lines(self, arguments: list[Leaf], payload: Any, request_id: str) -> list[Leaf]:
        """The arguments of a call that changes something. The text of an edit has only its new lines, and is before the text that
        it replaces.
        """
        if not isinstance(payload, dict | Mapping) or not any(_can_edit(leaf) for leaf in arguments):
            return arguments
        texts = {leaf.key: item for leaf in arguments if isinstance(item := payload.get(leaf.key), str)}
        place = next((text for key, text in texts.items() if _is_place(key, text)), "")
        old = next((key for key in texts if key.lower().startswith(_OLD)), "")
        new = next((key for key in texts if key.lower().startswith(_NEW)), "") if old else ""
        several = (leaf.key for leaf in arguments if leaf.more and leaf.key in texts and leaf.key != old)
        made = new or next((key for key in several if place or is_data(texts[key])), "")
        if not made:
            return arguments
        lines = [*islice(safe_text.lines(texts[made]), _MOST_OF_VERSION)]
        before = {*safe_text.lines(texts[old])} if new else self.written.get(place, frozenset())
        if place and not new:
            self.begun[request_id] = place, frozenset(lines)
            if len(self.begun) > _MOST_VERSIONS:
                del self.begun[next(iter(self.begun))]
        told = _new_lines(lines, before)
        start = lines.index(told[0]) if told and told[0] in lines else 0
        is_cut = told != lines[start : start + len(told)]
        edited = [_edited(leaf, told, is_cut=is_cut) if leaf.key == made else leaf for leaf in arguments]
        return sorted(edited, key=lambda leaf: leaf.key == old) if new else edited


def _is_place(key: str, text: str) -> bool:
    return any(map(key.lower().__contains__, _PLACES)) and "\n" not in text and len(text) <= _LONGEST_PLACE


def _can_edit(leaf: Leaf) -> bool:
    return not leaf.is_new and (bool(leaf.more) or leaf.key.startswith(_OLD))


def _new_lines(lines: list[str], before: Set[str]) -> list[str]:
    telling = [line for line in lines if TELLING.search(line)]
    new = [line for line in telling if line not in before] or telling
    own = [line for line in new if not _IMPORT.match(line)] or new
    return [safe_text.clip(line, WIDEST_CHANGED) for line in own[:MOST_CHANGED]]


def _edited(leaf: Leaf, lines: list[str], *, is_cut: bool) -> Leaf:
    return leaf._replace(text=lines[0], more=tuple(lines[1:]), cut=is_cut, end="", is_new=True) if lines else leaf


def repeats_edit(result: Any, arguments: list[Leaf]) -> bool:
    """Whether a result shows the text of an edit again, as editors do."""
    new = next((leaf for leaf in arguments if leaf.is_new), None)
    if new is None or not isinstance(result, dict | Mapping):
        return False
    ends = new.text, (new.more or (new.text,))[-1]
    return any(isinstance(item, str) and all(map(item.__contains__, ends)) for item in result.values())


def apart_from(leaf: Leaf, other: Leaf) -> Leaf | None:
    """The new lines of an edit that another one does not have; None if it has them all."""
    there = {other.text, *other.more}
    lines = [line for line in (leaf.text, *leaf.more) if line not in there]
    return _edited(leaf, lines, is_cut=True) if lines else None

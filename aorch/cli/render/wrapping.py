"""Wraps a line of text, and keeps commands in it whole, so that they can be copied."""

import re
from collections.abc import Iterator

_LABEL = re.compile(r"\S+ {2,}| +")
_WORD = re.compile(r"[^\s`]*`[^`]+`[^\s`]*|\S+")
"""A word, or a command between backticks."""


def wrapped(line: str, columns: int) -> str:
    """`line` as lines of at most `columns` characters. Further lines begin below the text after the label, if it has one.

    A word or a command in backticks that is longer is not broken: it gets its own line, from the left edge.
    """
    label = _LABEL.match(line)
    indent = label.end() if label and label.end() < columns // 2 else 2
    return "\n".join(_lines(line, columns, " " * indent))


def _lines(line: str, columns: int, indent: str) -> Iterator[str]:
    shown, end = "", 0
    for word in _WORD.finditer(line):
        gap = line[end : word.start()]
        end = word.end()
        if not shown.strip():
            shown += gap + word[0] if not shown else word[0]
        elif len(shown) + len(gap) + len(word[0]) <= columns:
            shown += gap + word[0]
        else:
            yield shown
            shown = indent + word[0] if len(indent) + len(word[0]) <= columns else word[0]
    yield shown

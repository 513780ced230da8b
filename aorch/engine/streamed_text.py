"""Redaction of a text that an agent reports in pieces, which can split a secret.

What a pattern may still find a part of is held back: the last word, or more if the pattern can contain white space.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum

from aorch.agents.secret_mask import PiecesMask

SPACES = " \t\n\f\r"
"""White space as RE2 has it."""
MOST_UNFINISHED = 64 * 1024
"""Longest beginning of a secret, in characters, before everything after it is held back until the end."""


class Reach(IntEnum):
    """What a match of a pattern can extend over."""

    WORD, LINE, TEXT = 0, 1, 2


class StreamedText:
    """Redacts one text. `secrets` are replaced as they are; `redact` replaces what the patterns find, and None means that there
    are none. Their matches extend over `reach`, except those of which `unfinished` finds the beginning at the end of a text.
    """

    def __init__(
        self,
        secrets: Iterable[str],
        redact: Callable[[str], str] | None = None,
        reach: Reach = Reach.WORD,
        unfinished: Sequence[re.Pattern[str]] = (),
    ) -> None:
        self._mask, self._redact, self._unfinished = PiecesMask(secrets), redact, unfinished
        self._ends = {Reach.WORD: SPACES, Reach.LINE: "\n", Reach.TEXT: ""}[reach]
        self._held: list[str] = []

    def feed(self, piece: str) -> str:
        """The redacted text that can be shown after `piece` has arrived."""
        piece = self._mask.feed(piece)
        if self._redact is None:
            return piece
        self._held.append(piece)
        if not any(end in piece for end in self._ends):
            return ""
        text = "".join(self._held)
        size = self._finished(text)
        self._held = [text[size:]]
        return self._redact(text[:size])

    def end(self) -> str:
        """What was held back: the text has ended."""
        text = "".join((*self._held, self._mask.end()))
        self._held = []
        return text if self._redact is None else self._redact(text)

    def _finished(self, text: str) -> int:
        """The number of characters at the beginning of `text` in which every match has ended."""
        size = max(text.rfind(end) for end in self._ends) + 1
        for expression in self._unfinished:
            if (found := expression.search(text, 0, size)) is not None:
                size = found.start()
        if len(text) - size > MOST_UNFINISHED:
            self._ends = ""  # otherwise a long text would be searched again for each of its pieces
        return size


_TOKEN = re.compile(r"\\Q.*?(?:\\E|\Z)|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|\\[xpP]\{[^}]*\}|\\.|.", re.DOTALL)
_DOT_IS_ANY = re.compile(r"\(\?[a-zA-Z]*s[a-zA-Z-]*[:)]")
_ANY_IN_CLASS = re.compile(r"\\[sWDpPxnrC0-7]|[\n\r]|\[:(?:\^|space|ascii|cntrl)")
_SPACE_IN_CLASS = re.compile(r"\\[tfv]|[ \t\f]|\[:(?:blank|print)")
_NO_SPACE, _NO_LINE_END = re.compile(r"\\s|\[:space:\]"), re.compile(r"\\n|\n")


def reach_of(pattern: str) -> Reach:
    """What a match of that regular expression (RE2) can extend over; rather too much than too little."""
    dot = Reach.TEXT if _DOT_IS_ANY.search(pattern) else Reach.LINE
    return max((dot if each == "." else _reach_of_token(each) for each in _TOKEN.findall(pattern)), default=Reach.WORD)


def _reach_of_token(token: str) -> Reach:
    token = token.replace(r"\\", "")
    if token.startswith("[^"):
        if _NO_SPACE.search(token):
            return Reach.WORD
        return Reach.LINE if _NO_LINE_END.search(token) else Reach.TEXT
    if _ANY_IN_CLASS.search(token):
        return Reach.TEXT
    return Reach.LINE if _SPACE_IN_CLASS.search(token) else Reach.WORD

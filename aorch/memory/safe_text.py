"""Makes text from agents safe to quote: exact pieces of it, on one line and without control characters.

Every function reads a bounded part of a text, in linear time.
"""

import re
from collections.abc import Iterator

CHARS_A_TOKEN = 4
HOW_COUNTED = "4 characters a token"

HEAD, TAIL = 2400, 1000
"""Number of characters to read of a long text: from its start and from its end."""

_CUT = re.compile(
    r"\x1b(?:\[[0-?]{0,40}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)?|[@-_])?"  # ECMA-48 escape sequences
    r"|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]+"
)
_SENTENCE_END = re.compile(r"(?<=[.!?])[ \u00a0]+(?=\S)|(?<=[。！？])")
_ENDINGS = (". ", "! ", "? ", "\n", "。", "！", "？")
_MARKING = re.compile(r"^(?:[#>*•\-\s]|\d{1,2}[.)]\s)+|[\s*_]+$")
_BOLD = re.compile(r"\*\*(?![^\s.,:;!?()])|(?<![^\s(])\*\*(?=\S)")
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_FENCES = str.maketrans({"«": "‹", "»": "›", "`": "'"})


def tokens(chars: int) -> int:
    """The number of tokens for a number of characters, rounded up."""
    return -(-chars // CHARS_A_TOKEN)


def ends_of(text: str) -> list[str]:
    """The parts of `text` that are read: all of it, or its start and its end."""
    if len(text) <= HEAD + TAIL:
        return [text]
    return [text[:HEAD], text[-TAIL:]]


def rows(text: str) -> Iterator[tuple[str, ...]]:
    """The lines of `text`, each as its non-empty pieces between control characters and escape sequences."""
    for part in ends_of(text):
        for row in part.split("\n"):
            stripped = (piece.strip() for piece in ((row,) if row.isprintable() else _CUT.split(row)))
            if pieces := tuple(piece for piece in stripped if piece):
                yield pieces


def lines(text: str) -> Iterator[str]:
    """All pieces of all lines."""
    for pieces in rows(text):
        yield from pieces


def first_line(text: str) -> str:
    """The first piece of the first line; empty if there is none."""
    beginning = text[:HEAD]
    return beginning.strip() if beginning.isprintable() else next(lines(beginning), "")


def sentences(text: str) -> Iterator[str]:
    """The sentences of `text`, without the markup of lists and headings at their start."""
    for piece in lines(text):
        for sentence in _SENTENCE_END.split(piece):
            if bare := _MARKING.sub("", sentence):
                yield bare


def sentence_count(text: str) -> int:
    """The number of sentences that are read."""
    return sum(1 for _ in sentences(text))


def unread_count(text: str) -> int:
    """The approximate number of sentences that are not read, between the start and the end."""
    if len(text) <= HEAD + TAIL:
        return 0
    between = text[HEAD:-TAIL]
    return max(1, sum(map(between.count, _ENDINGS)))


def word_count(text: str) -> int:
    """The number of words. In scripts without spaces, two characters count as one word."""
    unspaced = len(_UNSPACED.findall(text))
    return len(text.split()) + max(0, unspaced // 2 - 1) if unspaced else len(text.split())


def clip(text: str, limit: int) -> str:
    """The start of `text`, at most `limit` characters, cut between words if possible."""
    if len(text) <= limit:
        return text
    cut = text.rfind(" ", limit // 2, limit)
    return text[: cut if cut > 0 else limit].rstrip()


def shown(text: str) -> str:
    """`text` without bold markup, and safe to show.

    Characters that could end a quotation or start a role in a prompt are replaced by similar ones.
    """
    text = text.translate(_FENCES)
    if "**" in text:
        text = _BOLD.sub("", text)
    if "<" in text:
        text = text.replace("</", "‹/").replace("<|", "‹|").replace("<memory", "‹memory")
    return text


def quoted(text: str, limit: int) -> tuple[str, str]:
    """`text` as a quotation of at most `limit` characters, and the exact string in it."""
    exact = clip(text, limit)
    return f"«{shown(exact)}{'…' if len(exact) < len(text) else ''}»", exact

"""Text of strangers, made safe to quote: pieces that stand in it exactly, hold no control character and fit on a line.

Everything here looks at a bounded part of a text, in time linear in that part.
"""

import re
from collections.abc import Iterator

CHARS_A_TOKEN = 4
HOW_COUNTED = "4 characters a token"

HEAD, TAIL = 2400, 1000
"""How many characters of a text are looked at, from its beginning and from its end."""

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
    """How many tokens that many characters are, rounded up."""
    return -(-chars // CHARS_A_TOKEN)


def ends_of(text: str) -> list[str]:
    """The beginning and the end of `text`, as much of it as is ever looked at."""
    if len(text) <= HEAD + TAIL:
        return [text]
    return [text[:HEAD], text[-TAIL:]]


def rows(text: str) -> Iterator[tuple[str, ...]]:
    """The lines of `text`, each as its pieces between control characters and escape sequences, trimmed, none empty."""
    for part in ends_of(text):
        for row in part.split("\n"):
            stripped = (piece.strip() for piece in ((row,) if row.isprintable() else _CUT.split(row)))
            if pieces := tuple(piece for piece in stripped if piece):
                yield pieces


def lines(text: str) -> Iterator[str]:
    """All those pieces in a row."""
    for pieces in rows(text):
        yield from pieces


def first_line(text: str) -> str:
    """The first such piece, or nothing."""
    beginning = text[:HEAD]
    return beginning.strip() if beginning.isprintable() else next(lines(beginning), "")


def sentences(text: str) -> Iterator[str]:
    """The sentences of `text`, without the markup of lists and headings that they begin with."""
    for piece in lines(text):
        for sentence in _SENTENCE_END.split(piece):
            if bare := _MARKING.sub("", sentence):
                yield bare


def sentence_count(text: str) -> int:
    """How many sentences of `text` are looked at."""
    return sum(1 for _ in sentences(text))


def unread_count(text: str) -> int:
    """About how many sentences stand between the beginning and the end of `text` that are looked at."""
    if len(text) <= HEAD + TAIL:
        return 0
    between = text[HEAD:-TAIL]
    return max(1, sum(map(between.count, _ENDINGS)))


def word_count(text: str) -> int:
    """How many words `text` has; in scripts without spaces two characters are counted as one."""
    unspaced = len(_UNSPACED.findall(text))
    return len(text.split()) + max(0, unspaced // 2 - 1) if unspaced else len(text.split())


def clip(text: str, limit: int) -> str:
    """The beginning of `text`, at most `limit` characters, ended between words where there are words."""
    if len(text) <= limit:
        return text
    cut = text.rfind(" ", limit // 2, limit)
    return text[: cut if cut > 0 else limit].rstrip()


def shown(text: str) -> str:
    """`text` with what could end a quotation or open a role in a prompt replaced by look-alikes, and without the
    asterisks of bold print."""
    text = text.translate(_FENCES)
    if "**" in text:
        text = _BOLD.sub("", text)
    if "<" in text:
        text = text.replace("</", "‹/").replace("<|", "‹|").replace("<memory", "‹memory")
    return text


def quoted(text: str, limit: int) -> tuple[str, str]:
    """`text` as a quotation of at most `limit` characters between its marks, and the exact part that it quotes."""
    exact = clip(text, limit)
    return f"«{shown(exact)}{'…' if len(exact) < len(text) else ''}»", exact

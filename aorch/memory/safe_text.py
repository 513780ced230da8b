"""Makes text from agents safe to quote: exact pieces of it, on one line and without control characters.

Every function reads a bounded part of a text, in linear time.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from aorch.memory.segments import is_western, split_sentences, unspaced_letter

CHARS_A_TOKEN = 4
HOW_COUNTED = "4 characters a token"

HEAD, TAIL = 2400, 1000
"""Number of characters to read of a long text: from its start and from its end."""
ALL = HEAD + TAIL
"""Number of characters of a text that is read as a whole."""

_END_SHARE, _START, _SHORTEST_END = 35, 76, 24
"""Of a text cut in the middle, the percentage that its end takes (statements and commands often differ there), and the
characters that its start and its end have at least: a command is known by its first 60 to 70.
"""
_CUT = re.compile(
    r"\x1b(?:\[[0-?]{0,40}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)?|[@-_])?"  # ECMA-48 escape sequences
    r"|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]+"
)
_BREAK = re.compile(r"\n|[.!?] |[。！？]")
"""The end of a line or of a sentence, where the part of a text that is read may begin."""
_WIDE_ENDS = ("。", "！", "？", "；", "，")
_ENDINGS = (". ", "! ", "? ", "\n", "。", "！", "？")
_MARKING = re.compile(r"(?:[#>*•\-\s]|\d{1,2}[.)]\s|[=~_]{3,})*")
_MARKING_AT_END = re.compile(r"(?:[\s*_]|[=~\-]{3,}+)+$")
_TRAILING = "*_=~- \t"
_MARKS_AT_END = frozenset((*_TRAILING, '"', ","))
_MEMBER = re.compile(r'^"\w{1,40}": "(?=\S)')
"""What precedes a text in JSON that is printed with one member on each line."""
_BOLD = re.compile(r"(?<=[^\s*])\*\*(?![^\s.,:;!?()])|(?<![^\s(])\*\*(?=[^\s*])(?![a-z_]\w{0,40}[,)\]}:=])", re.ASCII)
"""Where bold text begins or ends in Markdown; not the operator in `2 ** 3` or `f(**options)`. Only the next word counts: a text
has the same marks whether its sentences are read together or one by one.
"""
_LONGEST_WORD = 60
_INSIDE_STRING = re.compile(r"[\w@./:%+#~=-]", re.ASCII)
_STRING_START = re.compile(r"[\w@./:%+#~=-]{1,60}$|[+(]?\d[\d ().-]{0,24}$", re.ASCII)
_SIGNAL = re.compile(r"\s*##+[A-Z_-]{2,40}##+$")
"""A signal for a program at the end of a line: `###STOP###`."""
_LOG_PREFIX = re.compile(
    r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?[\d.,]{0,10}Z?\]?[ |:-]{1,8}\[?INFO\]?"  # time and level
    r"(?:[ |:-]{1,8}[\w.:]{3,80}(?: - |: ))?[ |:\]-]{0,8}(?=\w)"  # name of the logger
)
"""What precedes the message in a line of a log of the level INFO."""
_QUOTATION_MARKS = str.maketrans({"«": "‹", "»": "›"})


def ends_with_signal(text: str) -> bool:
    """Whether a text ends with a signal for a program, which ends the conversation."""
    end = text.rstrip()[-_LONGEST_WORD:]
    return end.endswith("##") and bool(_SIGNAL.search(end))


def tokens(chars: int) -> int:
    """The number of tokens for a number of characters, rounded up."""
    return -(-chars // CHARS_A_TOKEN)


def ends_of(text: str) -> list[str]:
    """The parts of `text` that are read: all of it, or its start and its end."""
    if len(text) <= ALL:
        return [text]
    return [text[:HEAD], _from_sentence(text[-TAIL:])]


def _from_sentence(text: str) -> str:
    """`text` without the rest of a sentence or of a word at its beginning."""
    end = _BREAK.search(text, 0, len(text) // 4)
    return text[end.end() if end else text.find(" ", 0, _LONGEST_WORD) + 1 :]


def rows(text: str) -> Iterator[tuple[str, ...]]:
    """The lines of `text`, each as its non-empty pieces between control characters and escape sequences."""
    for part in ends_of(text):
        for row in part.split("\n"):
            if pieces := tuple(_visible(row)):
                yield pieces


def _visible(row: str) -> list[str]:
    """The non-empty pieces of a line."""
    return [bare for piece in _CUT.split(row) if (bare := piece.strip())]


def lines(text: str) -> Iterator[str]:
    """All pieces of all lines."""
    for part in ends_of(text):
        is_log = "INFO" in part
        for row in part.split("\n"):
            if not row.isprintable():
                yield from _visible(row)
            elif bare := row.strip():  # most of them
                yield _message(bare) if is_log else bare


def _message(line: str) -> str:
    """The message of a line of a log of the level INFO, without its time, level and logger; another line as it is."""
    prefix = _LOG_PREFIX.match(line)
    return line[prefix.end() :] or line if prefix else line


def first_line(text: str) -> str:
    """The first piece of the first line; empty if there is none."""
    beginning = text[:HEAD]
    return _message(beginning.strip()) if beginning.isprintable() else next(lines(beginning), "")


def sentences(text: str) -> Sequence[str]:
    """The sentences of `text`, without the markup of lists and headings at their start."""
    return [bare for piece in sentence_pieces(text) if (bare := without_marking(piece))]


def without_marking(sentence: str) -> str:
    """A sentence without the markup of lists and headings, and without the key of a member in JSON."""
    if sentence[:1].isalpha() and sentence[-1] not in _MARKS_AT_END:  # most of them
        return sentence
    marked = sentence[_MARKING.match(sentence).end() :]  # type: ignore[union-attr]  # it matches the empty string too
    if (bare := marked.rstrip(_TRAILING)) != marked:
        marked = bare + _MARKING_AT_END.sub("", marked[len(bare) :])
    bare = _MEMBER.sub("", marked) if marked[:1] == '"' else marked
    if bare[-2:].rstrip(",")[-1:] != '"' or (bare == marked and bare.count('"') % 2 == 0):
        return bare
    whole = bare.removesuffix(",")[:-1]
    return bare if not whole or whole[-1].isspace() else whole


def sentence_pieces(text: str) -> Sequence[str]:
    """The sentences of `text` with all their characters."""
    return _pieces(text) if len(text) <= ALL else _pieces.__wrapped__(text)


@lru_cache(64)
def _pieces(text: str) -> tuple[str, ...]:
    pieces: list[str] = []
    for line in lines(text):
        pieces += split_sentences(_SIGNAL.sub("", line) if line.endswith("##") else line)
    return tuple(pieces)


def joined(pieces: Sequence[str]) -> str:
    """Consecutive sentences as one text: with spaces, except after a full stop of a script that has none."""
    if (plain := " ".join(pieces)).isascii():
        return plain
    return "".join(
        f"{piece}{'' if piece.endswith(_WIDE_ENDS) else ' '}" if n < len(pieces) - 1 else piece
        for n, piece in enumerate(pieces)
    )


def sentence_count(text: str) -> int:
    """The number of sentences that are read."""
    return len(sentences(text))


def unread_count(text: str) -> int:
    """The approximate number of sentences that are not read, between the start and the end."""
    if len(text) <= ALL:
        return 0
    between = text[HEAD:-TAIL]
    return max(1, sum(map(between.count, _ENDINGS)))


def word_count(text: str) -> int:
    """The number of words. In scripts without spaces, two characters count as one word."""
    unspaced = 0 if text.isascii() or is_western(text) else len(unspaced_letter().findall(text))
    return len(text.split()) + max(0, unspaced // 2 - 1) if unspaced else len(text.split())


def clip(text: str, limit: int) -> str:
    """The start of `text`, at most `limit` characters, cut between words, and before a number or a name, if possible."""
    if len(text) <= limit:
        return text
    cut = text.rfind(" ", limit // 2, limit)
    cut = cut if cut > 0 else limit
    if _INSIDE_STRING.match(text[cut : cut + 1]) or text[cut + 1 : cut + 2].isdigit():
        start = _STRING_START.search(text, max(limit // 2, cut - 60), cut)
        whole = start is not None and limit // 2 < start.start() and (text[start.start() : cut].strip() != "")
        cut = start.start() if start and whole and _is_string(text[start.start() : cut]) else cut
    return text[:cut].rstrip()


def _is_string(part: str) -> bool:
    """Whether the part of a name or number before a cut shows that it is one."""
    return any(map(str.isdigit, part)) or any(mark in part for mark in "@/_")


def ends_clipped(text: str, end: str, limit: int) -> tuple[str, ...]:
    """`text` if it fits in `limit` characters, otherwise its start and its end. `end`: the end of a text that is longer than
    `text`; empty if it is not.
    """
    room = min(limit * _END_SHARE // 100, limit - _START)
    if (not end and len(text) <= limit) or room < _SHORTEST_END:
        return (clip(text, limit),)
    last = (end or text)[-room:]
    word = last.find(" ", 0, len(last) // 2)
    return clip(text, limit - len(last) - 3), (last[word + 1 :] if word >= 0 else last).lstrip()


def shown(text: str) -> str:
    """`text` without bold markup, and safe to show.

    Characters that could end a quotation or a block of code, or start a role in a prompt, are replaced by similar ones.
    """
    if not text.isascii():
        text = text.translate(_QUOTATION_MARKS)
    if "```" in text:
        text = text.replace("```", "'''")
    if "**" in text:
        text = _BOLD.sub("", text)
    if "<" in text:
        text = text.replace("</", "‹/").replace("<|", "‹|").replace("<memory", "‹memory")
    return text


def quoted(text: str, limit: int) -> tuple[str, str]:
    """`text` as a quotation of at most `limit` characters, and the exact string in it."""
    exact = clip(text, limit)
    return f"«{shown(exact)}{'…' if len(exact) < len(text) else ''}»", exact

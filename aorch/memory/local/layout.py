"""Which lines are code, rows of tables or menus of pages, and state nothing."""

import re
from collections.abc import Sequence

_CODE = re.compile(r"[;{}\\]|\w\(\w|\w = \S|Warning: |[^\s\w]{4}")
_MARK_OF_CODE, _MARKS_OF_CODE = re.compile(r"[;{}\\(=]"), re.compile(r"[^\s\w][^\s\w]{3}")
"""What code has one of. A pattern that begins with a set of characters is found several times as fast as `_CODE`."""
_STARTS_CODE = re.compile(r"File |\"[@$]\w|\W?/?[\w./-]+:\d+:|(?:import|from|def|class|return|print)\b")
_LINK, _MOST_LINKED = re.compile(r"\]\([^()\s]{1,400}(?: \"[^\"]{0,200}\")?\)"), 0.33
"""The target of a link in Markdown, and the share of a sentence that links may take: more is the menu of a page."""
_GAP, _COLUMNS, _WIDE = re.compile(r"[^\s.!?:] {2,}(?=\S)"), 2, "   "
"""The space between columns, how many of them a row of a table has, and a space that is wider than any between words."""
_LONG_PAGE, _SENTENCES, _SENTENCE_ENDS = 20, 0.6, frozenset(".!?:;…。！？：；")
"""Pieces of a text that can be a page, the share of them that are sentences in other texts, and how a sentence ends."""
_PLAIN = re.compile(r"(?:[a-zA-Z ]++[,.!?'’-]{0,3}+)*+")
"""Words and a few marks: of all patterns of code, only a keyword at the start can match."""
_FIGURE = re.compile(r"[\d|]")
_NO_LETTERS = bytes([n for n in range(128) if not chr(n).isalpha()])


def is_list_of_labels(pieces: Sequence[str]) -> bool:
    """Whether many pieces of a long text do not end like sentences: it is what a page or a window shows."""
    return len(pieces) >= _LONG_PAGE and sum(map(ends_like_sentence, pieces)) < _SENTENCES * len(pieces)


def ends_like_sentence(piece: str) -> bool:
    """Whether a piece of a text ends with a mark that ends a sentence, or announces what follows."""
    return piece.rstrip("\"'”’»*")[-1:] in _SENTENCE_ENDS


def is_layout(sentence: str) -> bool:
    """Whether a sentence is a row of a table with columns, or consists of links for a large part."""
    if "  " in sentence and (_WIDE in sentence or len(_GAP.findall(sentence)) >= _COLUMNS):
        return True
    return "](" in sentence and sum(map(len, _LINK.findall(sentence))) > _MOST_LINKED * len(sentence)


def is_row(sentence: str) -> bool:
    """Whether a sentence is a row of a table or of figures: fewer than half of its characters are letters."""
    if not _FIGURE.search(sentence):
        return False
    is_ascii = sentence.isascii()
    letters = len(sentence.encode().translate(None, _NO_LETTERS)) if is_ascii else sum(map(str.isalpha, sentence))
    return 2 * letters < len(sentence) - sentence.count(" ")


def is_code_or_row(sentence: str) -> bool:
    """Whether a sentence is code, output, or a row of a table or of figures."""
    if _PLAIN.fullmatch(sentence):  # half of them
        return bool(_STARTS_CODE.match(sentence))
    return looks_like_code(sentence[:120]) or is_row(sentence)


def looks_like_code(start: str) -> bool:
    """Whether a line that starts like this is code or output."""
    if _STARTS_CODE.match(start):
        return True
    can_be = _MARK_OF_CODE.search(start) or "Warning: " in start or _MARKS_OF_CODE.search(start)
    return bool(can_be and _CODE.search(start))

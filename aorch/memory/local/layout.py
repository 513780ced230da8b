"""Which lines are code, rows of tables or menus of pages, and state nothing."""

import re

_CODE = re.compile(r"[;{}\\]|\w\(\w|\w = \S|Warning: |[^\s\w]{4}")
_CAN_BE_CODE = re.compile(r"[;{}\\(=]|[^\s\w]{4}|Warning: ")
"""What code has one of: this search takes a quarter of the time of the one for `_CODE`."""
_STARTS_CODE = re.compile(r"File |\"[@$]\w|\W?/?[\w./-]+:\d+:|(?:import|from|def|class|return|print)\b")
_LINK, _MOST_LINKED = re.compile(r"\]\([^()\s]{1,400}(?: \"[^\"]{0,200}\")?\)"), 0.33
"""The target of a link in Markdown, and the share of a sentence that links may take: more is the menu of a page."""
_GAP, _COLUMNS = re.compile(r"\S {2,}(?=\S)"), 3
"""The space between columns, and how many of them a row of a table has."""
_FIGURE = re.compile(r"[\d|]")


def is_layout(sentence: str) -> bool:
    """Whether a sentence is a row of a table with columns, or consists of links for a large part."""
    if "  " in sentence and len(_GAP.findall(sentence)) >= _COLUMNS:
        return True
    return "](" in sentence and sum(map(len, _LINK.findall(sentence))) > _MOST_LINKED * len(sentence)


def is_row(sentence: str) -> bool:
    """Whether a sentence is a row of a table or of figures: fewer than half of its characters are letters."""
    if not _FIGURE.search(sentence):
        return False
    return 2 * sum(map(str.isalpha, sentence)) < len(sentence) - sentence.count(" ")


def looks_like_code(start: str) -> bool:
    """Whether a line that starts like this is code or output."""
    return bool(_STARTS_CODE.match(start) or (_CAN_BE_CODE.search(start) and _CODE.search(start)))

"""Finds the sentences of an agent that announce a list, or a result: they are shown with what follows them."""

import re
from collections.abc import Callable, Iterator, Sequence

Piece = tuple[str, str]
"""A sentence without its marks, and with them: `- ` or `2) ` before an item."""
_ANNOUNCED, _RESULTS, _LISTED = 80, 240, 320
"""Characters of a sentence, of the items of a result, or of those of another list, that are shown with what announces them."""
_ITEM = re.compile(r"\W*\d{1,2}[.)]")
_FEWEST = 2
"""Items of a list that is not a result."""


def announcements(
    pieces: Sequence[Piece], concludes: Callable[[str], bool]
) -> Iterator[tuple[int, tuple[tuple[str, ...], int]]]:
    """The place of each sentence that ends with a colon, and announces a list or states what is next (`The answer is:`), with
    that, and with how many sentences it is.
    """
    end = 0
    for n, (one, _) in enumerate(pieces):
        if n < end or not one.endswith((":", "：")):
            continue
        after = pieces[n + 1 :]
        if concludes(one.rstrip(":：")):
            items, count = _result(after)
        else:
            items, count = _items(after[: _LISTED // 4])
        if items:
            end = n + 1 + count
            yield n, (items, count)


def _result(after: Sequence[Piece]) -> tuple[tuple[str, ...], int]:
    """The items of a list at the start of `after`, as many as fit, or a short sentence; and the number of sentences."""
    items: list[str] = []
    count = length = 0
    numbered = False
    for place, (piece, marked) in enumerate(after, 1):
        is_number = bool(_ITEM.fullmatch(piece))
        length += 0 if is_number else len(piece)
        if length > _RESULTS or not (is_number or ((piece != marked or numbered) and _is_said(piece))):
            break
        if not is_number:
            items.append(piece)
            count = place
        numbered = is_number
    if not items and after and len(after[0][0]) <= _ANNOUNCED and _is_said(after[0][0]):
        return (after[0][0],), 1
    return (*items,), count


def _items(after: Sequence[Piece]) -> tuple[tuple[str, ...], int]:
    """The items at the start of `after` with their marks, as many as fit, and their number; none if they are no list."""
    items: list[str] = []
    length = listed = 0
    numbered = False
    for piece, marked in after:
        is_number = bool(_ITEM.fullmatch(piece))
        length += len(marked) + 1
        if length > _LISTED or not (is_number or numbered or piece != marked):
            break
        listed += piece != marked or numbered
        items.append(marked)
        numbered = is_number
    while items and (_ITEM.fullmatch(items[-1]) or items[-1].endswith((":", "："))):
        items.pop()
    return ((*items,), len(items)) if listed >= _FEWEST else ((), 0)


def _is_said(sentence: str) -> bool:
    """Whether a sentence neither announces the next one nor is only the number of an item."""
    return not sentence.endswith((":", "：")) and not _ITEM.fullmatch(sentence)

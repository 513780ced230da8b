"""Makes the claim of the aim: how the words of a person begin, and the sentences in them that ask for something."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby, takewhile

from aorch.memory import safe_text
from aorch.memory.block import Claim
from aorch.memory.contract_content import is_code
from aorch.memory.local.calls import Request
from aorch.memory.local.error_lines import names_error, names_trouble
from aorch.memory.local.sentence_kinds import LEANING, asks_for
from aorch.memory.local.spoken_sentences import is_phrase
from aorch.memory.local.task_texts import TaskText, task_text
from aorch.memory.local.wording import Wording, briefly, claim_of, fully, head, said

_START, _ASKED = 320, 240
"""Characters of the start of an aim, and of the sentences after it that ask for something."""
AIM_WIDTH = _START + _ASKED
"""Characters of an aim that its claim shows whole."""
_BRIEF_START, _BRIEF_ASKED = 90, 150
"""The same in brief: a text is recognised by its first 60 characters, and most requests are a sentence of this length."""
_LEAD = 110
"""Characters at most of lines that only announce the aim (`Solve this issue:`), which are shown beside its start."""


def aim_claims(aim: Request | None) -> Iterator[Claim]:
    """The claim of the aim, if the session has one."""
    if aim is None:
        return
    if aim.said:
        full, brief = _spoken(aim.said, _START, _ASKED), brief_aim(aim.said)
        importance = 0.5 if is_phrase(aim.said) else 1.0
        quotes = quotes_in_order(aim.said, full.quotes, brief.quotes)
    else:
        values, short = fully(aim.arguments, 240), briefly(aim.arguments, 100)
        full, brief = (Wording(f"{head(aim)} {one.text}".rstrip(), one.quotes) for one in (values, short))
        importance = 1.0
        quotes = [*full.quotes, *brief.quotes]
    yield claim_of(full.text, brief.text, quotes, [aim.contract_id], importance, aim.number)


def quotes_in_order(text: str, full: Sequence[str], brief: Sequence[str]) -> list[str]:
    """The quotations of a full wording and of a brief one in the order of `text`: of two from the same place the longer one, and
    last those that are not in `text`.
    """
    placed: dict[int, str] = {}
    beside: list[str] = []
    last = -1
    for quote in full:
        place = text.find(quote, last + 1)
        place = place if place >= 0 else text.find(quote, max(last, 0))
        if place < 0:
            beside.append(quote)
            continue
        placed[place] = max(placed.get(place, ""), quote, key=len)
        last = place
    for quote in brief:
        if not any(one.startswith(quote) for one in full):
            place = text.find(quote)
            placed[place] = max(placed.get(place, ""), quote, key=len)
    return [*(quote for _, quote in sorted(placed.items())), *beside]


def brief_aim(text: str) -> Wording:
    """How the first words of a person begin, and the sentence in them that asks the most for something."""
    return _spoken(text, _BRIEF_START, _BRIEF_ASKED)


def _spoken(text: str, start: int, asked: int) -> Wording:
    """The start of a text, and the sentences after it that ask the most; all of a short text."""
    task = task_text(text) if len(text) > AIM_WIDTH else None
    if task is not None:
        return _of_task(task, start, asked)
    pieces = _from_prose(list(safe_text.sentence_pieces(text)))
    lead = min(_LEAD, sum(len(piece) + 1 for piece in takewhile(_introduces, pieces[:-1])))
    whole = said(pieces, start + asked + lead)
    if list(whole.quotes) == pieces:
        return whole
    begun = sum(end <= start + lead for end in accumulate(len(piece) + 1 for piece in pieces))
    begun = min(begun, next((n for n, piece in enumerate(pieces) if n and is_code(piece)), begun))
    places = _asking(pieces, begun, asked)
    if not places:
        return whole
    first = said(pieces[: begun if begun in places and begun else None], start + lead)
    quotations = [first, *(said([pieces[place]], asked) for place in places if pieces[place] not in first.quotes)]
    return Wording(" ".join(one.text for one in quotations), tuple(quote for one in quotations for quote in one.quotes))


def _of_task(task: TaskText, start: int, asked: int) -> Wording:
    """The title of a task text with what follows it, then the sentences that tell the most what is wrong or wanted, then the
    others. Instructions how to work come last.
    """
    stated, instructed = ([one.text for one in part] for part in (task.statement, task.rest))
    begun = max(1, sum(end <= start for end in accumulate(len(piece) + 1 for piece in stated)))
    room = start + asked - sum(map(len, stated[:begun]))
    places = [*range(begun), *_asking(stated, begun, max(asked, room), names_trouble)]
    room = start + asked - sum(len(stated[place]) + 1 for place in places)
    for place, piece in enumerate(stated):
        if place not in places and len(piece) < room:
            places.append(place)
            room -= len(piece) + 1
    chosen = [task.statement[place] for place in sorted(places)]
    if len(chosen) == len(stated):
        chosen += [task.rest[place] for place in _asking(instructed, 0, room) if len(instructed[place]) <= room]
    runs = groupby(enumerate(chosen), lambda pair: pair[1].place - pair[0])
    quotations = [said([one.text for _, one in run], start + asked) for _, run in runs]
    return Wording(" ".join(one.text for one in quotations), tuple(quote for one in quotations for quote in one.quotes))


def _introduces(line: str) -> bool:
    """Whether a line only announces the next one: `Here is the issue:`."""
    return line.endswith((":", "："))


def _asking(pieces: Sequence[str], begun: int, room: int, tells: Callable[[str], bool] = lambda _: False) -> list[int]:
    """The places of the sentences from `begun` on that ask the most for something, as many as fit in `room` characters, and at
    least one. A sentence that `tells` what the matter is counts more.
    """
    worths = {place: asks_for(pieces[place]) + tells(pieces[place]) for place in range(begun, len(pieces))}
    asking = {place: worth for place, worth in worths.items() if worth > 0}
    chosen: list[int] = []
    for place in sorted(asking, key=lambda place: (-asking[place], place)):
        is_repeated = any(pieces[other].startswith(pieces[place]) for other in chosen)
        if is_repeated or (chosen and len(pieces[place]) > room):
            continue
        chosen.append(place)
        room -= len(pieces[place]) + 4
        if len(pieces[place]) < LEANING and place - 1 >= begun and len(pieces[place - 1]) <= room:
            chosen.append(place - 1)
            room -= len(pieces[place - 1]) + 4
    return sorted(set(chosen))


def _from_prose(pieces: list[str]) -> list[str]:
    """If a text begins with pasted code: its sentences from the first one that is no code, or that names an error."""
    prose = next(
        (n for n, one in enumerate(pieces) if not _introduces(one) and (names_error(one) or not is_code(one))), 0
    )
    return pieces[prose:] if any(map(is_code, pieces[:prose])) else pieces

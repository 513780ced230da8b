"""Chooses the claims that fit in a number of characters, and the wording of each: for a new block and for each prompt."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace

from aorch.memory import safe_text
from aorch.memory.block import Claim
from aorch.memory.quotations import SAID
from aorch.memory.shortening import shortened

TITLES = {
    "aims": "Aim:",
    "decisions": "Done:",
    "failures": "Failed:",
    "open_points": "Open:",
    "preferences": "Caller's words:",
    "results": "Found:",
    "literals": "Also named:",
}
"""The sections in the order in which a prompt shows them, each with its title."""
WORK = ("decisions", "failures", "preferences", "results")
"""The sections that a prompt shows together, in the order of the work."""
WORK_TITLE = "In order:"

VITAL = 0.85
"""Minimum importance of a claim that comes before all others."""
END = 0.855
"""Importance of the end of a session, unless it has a higher one: vital, but after failures and the last call."""
LAST_CALL = 0.961
"""Importance of the last call of a session, whose result is where the work stands: after failures, before other changes."""
WANTED = 0.22
"""Minimum importance of an exact string for which space is reserved."""
SPARE = 0.125
"""Minimum importance of a sentence; less important ones are used only if space is left."""

FILLING = 0.02
"""Importance of a sentence that states little and only fills space. It takes none from citations."""

VITAL_SHARE = 0.875
"""The share of the space that vital claims in brief may take."""
CUT_WIDTH = 70
"""Characters of the quotation in a vital claim in brief, if not all of them fit. An error or a command is known by its first 60;
a failure has twice as many, for the first line of the error and the last one."""
_OVERHEAD = 120
_SEVERAL = 5
"""Hidden exact strings from which a claim is shown in full before the list of them: fewer made recall of them worse."""
_MOST_NAMES = 300
"""Characters of the list of exact strings."""
_WIDE = 480
"""Characters of a claim as long as space is left for other claims: a long result is shown further only after them."""
_FIRST = 240
"""Characters of a vital claim as long as other claims are not shown in brief."""

Item = tuple[str, Claim]
Line = tuple[str, str]


@dataclass
class PackedClaims:
    """The wording chosen for each claim, by its index in `items`, and the number of characters that they use."""

    items: Sequence[Item]
    room: int
    mark: int
    wordings: dict[int, str] = field(default_factory=dict)
    used: int = 0
    labels: set[str] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)
    lines: Counter[Line] = field(default_factory=Counter)
    _sentences: str | None = None

    def add(self, place: int, wording: str, room: int) -> bool:
        """Choose `wording` for a claim, instead of an earlier one, if everything still fits in `room`. Return whether it does."""
        section, claim = self.items[place]
        before = self.wordings.get(place)
        line = line_of(self.items[place]) if before is None else None
        cost = self._cost(place, wording, line) if before is None else len(wording) - len(before)
        title = title_of(section)
        if title not in self.titles:
            cost += len(title) + 2
        if self.used + cost > room:
            return False
        self.used += cost
        self.titles.add(title)
        if line:
            self.lines[line] += 1
        if section == "literals":
            self.labels.add(label_of(claim))
        else:
            self._sentences = None
        self.wordings[place] = wording
        return True

    def drop(self, place: int) -> None:
        """Remove a claim. The space of its section title is not freed."""
        if line := line_of(self.items[place]):
            self.lines[line] -= 1
        self.used -= self._cost(place, self.wordings.pop(place), line)
        if self.items[place][0] != "literals":
            self._sentences = None

    def shows(self, name: str) -> bool:
        """Whether a chosen sentence contains `name`."""
        if self._sentences is None:  # one search in all of them is faster than one in each
            shown = (wording for place, wording in self.wordings.items() if self.items[place][0] != "literals")
            self._sentences = "\n".join(shown)
        return name in self._sentences

    def _cost(self, place: int, wording: str, line: Line | None) -> int:
        section, claim = self.items[place]
        if section == "literals":
            label = label_of(claim)
            return len(wording) + 2 - (len(label) if label in self.labels else 0)
        if line and self.lines[line] > 0:  # the line names the speaker and the contract once
            return len(wording) - len(line[0]) - 1
        return len(wording) + cites_length(claim, self.mark) + 3


def line_of(item: Item) -> Line | None:
    """Who said what a claim about the work quotes, and the contract: claims that have both in common share a line."""
    section, claim = item
    return (claim.text.partition(SAID)[0], claim.contract_ids[0]) if section in WORK and claim.places else None


def title_of(section: str) -> str:
    """The title under which a prompt shows claims of that section."""
    return WORK_TITLE if section in WORK else TITLES[section]


def cites_length(claim: Claim, mark: int) -> int:
    """The length of the citations of `claim`, if each citation has `mark` characters; 0 if they are not shown."""
    shown = len(cites_of(claim)) if mark else 0
    return shown * (mark + 1) + 2 if shown else 0


def cites_of(claim: Claim) -> tuple[str, ...]:
    """The citations of `claim` that are shown: the first one, and also the second one if there are more than two."""
    return claim.contract_ids[: 2 if len(claim.contract_ids) > 2 else 1]


def label_of(claim: Claim) -> str:
    """The key of an exact string in its contract."""
    return claim.text.removesuffix(safe_text.shown(claim.quotes[0])).strip() if claim.quotes else ""


def pack(items: Sequence[Item], room: int, mark: int) -> PackedClaims:
    """Choose the claims of `items` that fit in `room` characters, including citations of `mark` characters, if not all do.

    Vital claims come first, at least in brief. Then come the other claims by importance; up to a quarter of the space is
    reserved for important exact strings that no sentence contains. The rest of the space is for longer wordings, and then
    for spare sentences.
    """
    packed = PackedClaims(items, room, mark)
    by_importance = sorted(range(len(items)), key=lambda place: -items[place][1].importance)
    sentences = [place for place in by_importance if items[place][0] != "literals"]
    names = [place for place in by_importance if items[place][0] == "literals"]
    vital = [place for place in sentences if items[place][1].importance >= VITAL]
    others = [place for place in sentences if SPARE <= items[place][1].importance < VITAL]
    spare = [place for place in sentences if items[place][1].importance < SPARE]
    _brief_all(packed, vital, int(room * VITAL_SHARE))
    aims = [place for place in vital if items[place][0] == "aims" and len(items[place][1].text) <= room // 4]
    _full(packed, aims, room)
    _full(packed, _last_failure(items, vital), room)
    _longer(packed, [place for place in vital if _quotes_input(items[place])], room // 2, _FIRST)
    _longer(packed, vital, room // 2, _FIRST)
    _best(packed, others, names)
    _longer(packed, _naming(packed, others, names), room, _WIDE)
    _name(packed, names)
    _uncut(packed, vital, room)
    _brief(packed, [place for place in [*vital, *others] if place not in packed.wordings], room)
    _longer(packed, vital, room, _WIDE)
    _longer(packed, others, room, _WIDE)
    _brief(packed, spare, room)
    _full(packed, spare, room)
    for place in [place for place in names if place in packed.wordings and packed.shows(_name_of(items[place]))]:
        packed.drop(place)
    _name(packed, [place for place in names if place not in packed.wordings])
    _longer(packed, [*vital, *others], room)
    return packed


def pack_all(items: Sequence[Item], room: int, mark: int) -> PackedClaims | None:
    """All sentences in full, and all exact strings that no sentence contains; None if they do not fit."""
    packed = PackedClaims(items, room, mark)
    for place in sorted(range(len(items)), key=lambda place: items[place][0] == "literals"):
        section, claim = items[place]
        if section == "literals" and packed.shows(_name_of(items[place])):
            continue
        if not packed.add(place, claim.text, room):
            return None
    return packed


def _last_failure(items: Sequence[Item], vital: Sequence[int]) -> list[int]:
    """The newest vital claim about the work if it is a failure: the command that failed is where the work stands."""
    newest = max(
        (place for place in vital if items[place][0] in WORK), key=lambda place: items[place][1].number, default=-1
    )
    is_short = newest >= 0 and len(items[newest][1].text) <= _FIRST
    return [newest] if is_short and items[newest][0] == "failures" else []


def _quotes_input(item: Item) -> bool:
    """Whether a failure quotes the command or the query that failed, which is often its cause."""
    section, claim = item
    return section == "failures" and "«" in claim.text.partition(" failed")[0]


def _name_of(item: Item) -> str:
    return item[1].quotes[0] if item[1].quotes else item[1].text


def _brief(packed: PackedClaims, places: Sequence[int], room: int) -> None:
    for place in places:
        packed.add(place, _brief_of(packed, place), room)


def _brief_all(packed: PackedClaims, places: Sequence[int], room: int) -> None:
    """Choose these claims in brief. If they do not fit, all are cut, and then as many as fit are shown in brief again."""
    _brief(packed, places, room)
    if len(packed.wordings) == len(places):
        return
    for place in list(packed.wordings):
        packed.drop(place)
    for place in places:
        packed.add(place, _cut(packed.items[place][0], _brief_of(packed, place)), room)
    _uncut(packed, places, room)


def _brief_of(packed: PackedClaims, place: int) -> str:
    return packed.items[place][1].brief or packed.items[place][1].text


def _uncut(packed: PackedClaims, places: Sequence[int], room: int) -> None:
    """Show cut claims in brief, as many as fit."""
    for place in places:
        brief = _brief_of(packed, place)
        if place in packed.wordings and len(packed.wordings[place]) < len(brief):
            packed.add(place, brief, room)


def _cut(section: str, wording: str) -> str:
    """`wording` of a claim about the work, with at most CUT_WIDTH characters after the start of its first quotation."""
    quotation = wording.find("«")
    closed = wording.find("»", quotation)
    has_outcome = closed - quotation <= CUT_WIDTH and wording.startswith(" → «", closed + 1)
    end = quotation + 1 + CUT_WIDTH * (2 if section == "failures" or has_outcome else 1)
    if section not in WORK or quotation < 0 or len(wording) <= end + 2:
        return wording
    start = safe_text.clip(wording, end)
    return f"{start}…»" if start.count("«") > start.count("»") else f"{start}…"


def _full(packed: PackedClaims, places: Sequence[int], room: int) -> None:
    for place in places:
        if place in packed.wordings and packed.wordings[place] != packed.items[place][1].text:
            packed.add(place, packed.items[place][1].text, room)


def _longer(packed: PackedClaims, places: Sequence[int], room: int, most: int = sys.maxsize) -> None:
    """Share the rest of the space among claims: each gets its full text, or an equal share, but at most `most` characters."""
    brief = [place for place in places if place in packed.wordings]
    brief.sort(key=lambda place: len(packed.items[place][1].text) - len(packed.wordings[place]))
    for n, place in enumerate(brief):
        share = len(packed.wordings[place]) + (room - packed.used) // (len(brief) - n)
        if longer := shortened(packed.items[place][1], min(share, most)):
            packed.add(place, longer, room)


def _best(packed: PackedClaims, places: Sequence[int], names: Sequence[int]) -> None:
    """Choose, one by one, the sentence with the most value for its length. Exact strings that are not shown yet add value."""
    worth = {_name_of(packed.items[place]): packed.items[place][1].importance for place in names}
    wordings = {place: packed.items[place][1].brief or packed.items[place][1].text for place in places}
    anywhere = "\n".join(wordings.values())
    told = [name for name in worth if name in anywhere]
    holds = {place: [name for name in told if name in wording] for place, wording in wordings.items()}
    open_names = {name for name in worth if not packed.shows(name)}

    def density(place: int) -> float:
        gain = packed.items[place][1].importance + sum(worth[name] for name in holds[place] if name in open_names)
        return gain / (len(wordings[place]) + _OVERHEAD)

    best = [(-density(place), n, place) for n, place in enumerate(wordings)]
    heapify(best)
    reserve = _reserve(packed, names, open_names)
    while best:
        known, n, place = best[0]
        if (now := -density(place)) > known:  # names in it have been shown since: others may have more value
            heapreplace(best, (now, n, place))
            continue
        heappop(best)
        if packed.add(place, wordings[place], packed.room - reserve):
            open_names.difference_update(holds[place])
            reserve = _reserve(packed, names, open_names)


def _naming(packed: PackedClaims, places: Sequence[int], names: Sequence[int]) -> list[int]:
    """The claims whose full text shows several important exact strings that no sentence shows: there they have their context."""
    wanted = [_name_of(packed.items[place]) for place in names if packed.items[place][1].importance >= WANTED]
    hidden = [name for name in wanted if not packed.shows(name)]
    return [place for place in places if sum(name in packed.items[place][1].text for name in hidden) >= _SEVERAL]


def _room_for_names(room: int) -> int:
    """The space of a list of exact strings: a quarter, but more would take it from what was done and why."""
    return min(room // 4, _MOST_NAMES)


def _reserve(packed: PackedClaims, names: Sequence[int], hidden: set[str]) -> int:
    """The space that important exact strings still need, of which no sentence shows those that are `hidden`."""
    needed = 0
    room = _room_for_names(packed.room)
    for place in names:
        claim = packed.items[place][1]
        if claim.importance < WANTED or needed > room:
            break
        if _name_of(packed.items[place]) in hidden:
            needed += len(claim.text) + 2
    return min(needed + len(TITLES["literals"]) + 2, room)


def _name(packed: PackedClaims, names: Sequence[int]) -> None:
    listed = 0
    for place in names:
        text = packed.items[place][1].text
        if listed + len(text) + 2 > _room_for_names(packed.room) or packed.shows(_name_of(packed.items[place])):
            continue
        before = packed.used
        if packed.add(place, text, packed.room):
            listed += packed.used - before

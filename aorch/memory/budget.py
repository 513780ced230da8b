"""Chooses the claims that fit in a number of characters, and the wording of each: for a new block and for each prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aorch.memory import safe_text
from aorch.memory.block import Claim

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

_VITAL = 0.85
_WANTED = 0.25
SPARE = 0.125
"""Minimum importance of a sentence; less important ones are used only if space is left."""

_OVERHEAD = 120

Item = tuple[str, Claim]


@dataclass
class PackedClaims:
    """The wording chosen for each claim, by its index in `items`, and the number of characters that they use."""

    items: Sequence[Item]
    room: int
    mark: int
    wordings: dict[int, str] = field(default_factory=dict)
    used: int = 0
    labels: set[str] = field(default_factory=set)

    def add(self, place: int, wording: str, room: int) -> bool:
        """Choose `wording` for a claim, instead of an earlier one, if everything still fits in `room`. Return whether it does."""
        cost = self._cost(place, wording)
        before = self.wordings.get(place)
        if before is not None:
            cost -= self._cost(place, before)
        elif not any(self.items[other][0] == self.items[place][0] for other in self.wordings):
            cost += len(TITLES[self.items[place][0]]) + 2
        if self.used + cost > room:
            return False
        self.used += cost
        if self.items[place][0] == "literals":
            self.labels.add(label_of(self.items[place][1]))
        self.wordings[place] = wording
        return True

    def drop(self, place: int) -> None:
        """Remove a claim. The space of its section title is not freed."""
        self.used -= self._cost(place, self.wordings.pop(place))

    def shows(self, name: str) -> bool:
        """Whether a chosen sentence contains `name`."""
        return any(name in wording for place, wording in self.wordings.items() if self.items[place][0] != "literals")

    def _cost(self, place: int, wording: str) -> int:
        section, claim = self.items[place]
        if section == "literals":
            return len(wording) + 2 - (len(label_of(claim)) if label_of(claim) in self.labels else 0)
        return len(wording) + cites_length(claim, self.mark) + 3


def cites_length(claim: Claim, mark: int) -> int:
    """The length of the citations of `claim`, if each citation has `mark` characters."""
    shown = len(cites_of(claim))
    return shown * (mark + 1) + 2 if shown else 0


def cites_of(claim: Claim) -> tuple[str, ...]:
    """The citations of `claim` that are shown: the first one, and also the second one if there are more than two."""
    return claim.contract_ids[: 2 if len(claim.contract_ids) > 2 else 1]


def label_of(claim: Claim) -> str:
    """The key of an exact string in its contract."""
    return claim.text.removesuffix(safe_text.shown(claim.quotes[0])).strip() if claim.quotes else ""


def pack(items: Sequence[Item], room: int, mark: int) -> PackedClaims:
    """Choose the claims of `items` that fit in `room` characters, including citations of `mark` characters.

    Vital claims come first, at least in brief. Then come the other claims by importance; up to a quarter of the space is
    reserved for important exact strings that no sentence contains. The rest of the space is for longer wordings, and then
    for spare sentences.
    """
    packed = PackedClaims(items, room, mark)
    by_importance = sorted(range(len(items)), key=lambda place: -items[place][1].importance)
    sentences = [place for place in by_importance if items[place][0] != "literals"]
    names = [place for place in by_importance if items[place][0] == "literals"]
    vital = [place for place in sentences if items[place][1].importance >= _VITAL]
    others = [place for place in sentences if SPARE <= items[place][1].importance < _VITAL]
    spare = [place for place in sentences if items[place][1].importance < SPARE]
    _brief(packed, vital, room * 7 // 8)
    _full(packed, vital, room // 2)
    _best(packed, others, names)
    _name(packed, names)
    _full(packed, vital, room)
    _brief(packed, [place for place in [*vital, *others] if place not in packed.wordings], room)
    _full(packed, others, room)
    _brief(packed, spare, room)
    _full(packed, spare, room)
    for place in [place for place in names if place in packed.wordings and packed.shows(_name_of(items[place]))]:
        packed.drop(place)
    return packed


def _name_of(item: Item) -> str:
    return item[1].quotes[0] if item[1].quotes else item[1].text


def _brief(packed: PackedClaims, places: Sequence[int], room: int) -> None:
    for place in places:
        claim = packed.items[place][1]
        packed.add(place, claim.brief or claim.text, room)


def _full(packed: PackedClaims, places: Sequence[int], room: int) -> None:
    for place in places:
        if place in packed.wordings and packed.wordings[place] != packed.items[place][1].text:
            packed.add(place, packed.items[place][1].text, room)


def _best(packed: PackedClaims, places: Sequence[int], names: Sequence[int]) -> None:
    """Choose, one by one, the sentence with the most value for its length. Exact strings that are not shown yet add value."""
    worth = {_name_of(packed.items[place]): packed.items[place][1].importance for place in names}
    wordings = {place: packed.items[place][1].brief or packed.items[place][1].text for place in places}
    holds = {place: [name for name in worth if name in wording] for place, wording in wordings.items()}
    open_names = {name for name in worth if not packed.shows(name)}

    def density(place: int) -> float:
        gain = packed.items[place][1].importance + sum(worth[name] for name in holds[place] if name in open_names)
        return gain / (len(wordings[place]) + _OVERHEAD)

    while wordings:
        place = max(wordings, key=density)
        if packed.add(place, wordings.pop(place), packed.room - _reserve(packed, names)):
            open_names.difference_update(holds[place])


def _reserve(packed: PackedClaims, names: Sequence[int]) -> int:
    """The space that important exact strings still need."""
    needed = 0
    for place in names:
        claim = packed.items[place][1]
        if claim.importance < _WANTED or needed > packed.room // 4:
            break
        if not packed.shows(_name_of(packed.items[place])):
            needed += len(claim.text) + 2
    return min(needed + len(TITLES["literals"]) + 2, packed.room // 4)


def _name(packed: PackedClaims, names: Sequence[int]) -> None:
    listed = 0
    for place in names:
        text = packed.items[place][1].text
        if listed + len(text) + 2 > packed.room // 4 or packed.shows(_name_of(packed.items[place])):
            continue
        before = packed.used
        if packed.add(place, text, packed.room):
            listed += packed.used - before

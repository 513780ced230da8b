"""Shortens contracts for a model: each becomes one line of JSON with a label, of limited length.

The line states how much was left out. Control characters and escape sequences are removed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from aorch import jsonio
from aorch.memory import safe_text
from aorch.memory.parties import Parties

LONGEST = 4000
"""Maximum characters of the content of a contract; fewer if the window is small."""

BYTES_A_TOKEN = 3
"""Number of bytes that count as a token. (English has more than four bytes per token, other languages about three.)"""

_MOST_STEPS, _WIDEST, _DEEPEST = 400, 60, 12
_NAMES = ("contract_type", "created_at", "from_agent", "to_agent", "capability", "status")


@dataclass(frozen=True)
class Excerpt:
    """A contract as the model sees it.

    `pieces` are the exact strings in the line. `cut`: something was left out. `asks`: it is a REQUEST. `outermost`: it is a
    REQUEST without a parent, from a caller that was not itself called before.
    """

    label: str
    contract_id: str
    from_agent: str
    asks: bool
    line: str
    pieces: tuple[str, ...]
    cut: bool
    outermost: bool = False

    @property
    def tokens(self) -> int:
        """The number of tokens that the excerpt needs in a window."""
        return len(self.line.encode()) // BYTES_A_TOKEN + 1


@dataclass
class Excerpts:
    """The excerpts of a session, in order, for at most `most_windows` of `window` tokens; `too_many` if they do not fit.

    `parties` are those of the contracts so far.
    """

    window: int
    most_windows: int
    parties: Parties = field(default_factory=Parties)
    listed: list[Excerpt] = field(default_factory=list)
    tokens: int = 0
    too_many: bool = False
    _labels: dict[str, str] = field(default_factory=dict)

    def recorded(self, contracts: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield `contracts`, adding each of them to the excerpts."""
        for contract in contracts:
            if not self.too_many:
                self._take(contract)
            yield contract

    def windows(self) -> list[list[Excerpt]]:
        """Split the excerpts into runs that each fit in a window.

        Later windows also begin with the first contract of the session if it is short, because it introduces the subject of
        the session.
        """
        first = self.listed[:1] if self.listed and self.listed[0].tokens <= self.window // 8 else []
        windows: list[list[Excerpt]] = []
        room = 0
        for excerpt in self.listed:
            if not windows or excerpt.tokens > room:
                windows.append(list(first) if windows else [])
                room = self.window - sum(one.tokens for one in windows[-1])
            windows[-1].append(excerpt)
            room -= excerpt.tokens
        return windows

    def _take(self, contract: Mapping[str, Any]) -> None:
        # a character takes four bytes at most, and a quotation mark two
        longest = min(LONGEST, self.window * BYTES_A_TOKEN // 6)
        excerpt = excerpt_of(contract, f"c{len(self.listed) + 1}", self._labels, longest)
        self.tokens += excerpt.tokens
        if self.tokens > self.window * self.most_windows:
            self.too_many = True
            self.listed.clear()
            return
        sender, agent = str(contract.get("from_agent")), str(contract.get("to_agent"))
        outermost = excerpt.asks and self.parties.add_request(sender, agent, has_parent=bool(contract.get("parent_id")))
        self.listed.append(replace(excerpt, outermost=outermost))
        self._labels[excerpt.contract_id] = excerpt.label


def excerpt_of(contract: Mapping[str, Any], label: str, labels: Mapping[str, str], longest: int = LONGEST) -> Excerpt:
    """The excerpt of `contract`, with at most `longest` characters of content. `labels` are those of earlier contracts, by ID."""
    cutting = _Cutting(longest)
    shown: dict[str, Any] = {"label": label}
    for name in _NAMES:
        if contract.get(name) not in (None, ""):
            shown[name] = cutting.name(str(contract[name]))
    for name, key in (("answers", "request_id"), ("part_of", "parent_id")):
        if contract.get(key) in labels:
            shown[name] = labels[contract[key]]
    for name in ("error", "payload", "result"):
        if contract.get(name) not in (None, "", {}, []):
            shown[name] = cutting.value(contract[name])
    if cutting.left_out:
        shown["cut"] = f"{cutting.left_out} characters or elements are left out here"
    pieces = tuple(dict.fromkeys(piece for piece in cutting.pieces if piece))
    return Excerpt(
        label=label,
        contract_id=str(contract.get("contract_id") or ""),
        from_agent=str(shown.get("from_agent", "")),
        asks=contract.get("contract_type") != "RESPONSE",
        line=jsonio.encode(shown),
        pieces=pieces,
        cut=bool(cutting.left_out),
    )


class _Cutting:
    """Takes as much of the content of a contract as fits, and collects its exact strings."""

    def __init__(self, room: int) -> None:
        self.pieces: list[str] = []
        self.left_out = 0
        self._room = room
        self._steps = _MOST_STEPS

    def name(self, text: str) -> str:
        """A short string that is always shown."""
        piece = safe_text.clip(safe_text.first_line(text), 120)
        self.pieces.append(piece)
        return piece

    def value(self, item: Any, depth: int = 0) -> Any:
        """As much of `item` as fits."""
        self._steps -= 1
        if isinstance(item, str):
            return self._text(item)
        if isinstance(item, Mapping | list | tuple):
            if self._room <= 0 or self._steps <= 0 or depth >= _DEEPEST:
                self.left_out += len(item)
                return "…"
            return self._members(item, depth) if isinstance(item, Mapping) else self._elements(item, depth)
        scalar = safe_text.clip(jsonio.encode(item), 60)
        self._room -= len(scalar)
        self.pieces.append(scalar)
        return item if len(scalar) < 60 else scalar

    def _members(self, item: Mapping[str, Any], depth: int) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        for key, value in islice(item.items(), _WIDEST):
            if self._room <= 0 or self._steps <= 0:
                break
            self._room -= len(str(key)) + 6
            taken[self.name(str(key))] = self.value(value, depth + 1)
        self.left_out += len(item) - len(taken)
        return taken

    def _elements(self, item: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        taken: list[Any] = []
        for value in item[:_WIDEST]:
            if self._room <= 0 or self._steps <= 0:
                break
            taken.append(self.value(value, depth + 1))
        self.left_out += len(item) - len(taken)
        return taken

    def _text(self, text: str) -> str:
        ends = safe_text.ends_of(text)
        parts = [self._lines(end) for end in ends]
        between = len(text) - sum(map(len, ends))
        self.left_out += between
        return f"\n[… {between} characters left out …]\n".join(parts) if between else "\n".join(parts)

    def _lines(self, end: str) -> str:
        lines: list[str] = []
        for piece in safe_text.lines(end):
            part = safe_text.clip(piece, max(self._room, 0))
            self.left_out += len(piece) - len(part)
            self._room -= len(part) + 1
            if part:
                lines.append(part)
        self.pieces += lines
        return "\n".join(lines)

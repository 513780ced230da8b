"""Which contracts belong together, so that none of them is removed without the others.

A unit is an exchange, all exchanges of its tree of delegations, and all other tries of these tasks (resumed and retried
ones), with their trees. So a pipeline that can be resumed keeps all steps that it would reuse.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import msgspec

from aorch import jsonio
from aorch.ledger.database import statements
from aorch.ledger.record import INTERRUPTED, REQUEST
from aorch.ledger.task_queue import OPEN

Rows: TypeAlias = Callable[..., Sequence[Any]]
"""Executes a statement with the values of its parameters."""


class _Links(msgspec.Struct):
    """The keys of a REQUEST's metadata that name an earlier try of its task."""

    resumes: Any = None
    retry_of: Any = None


_links_of = msgspec.json.Decoder(_Links).decode


class Part(NamedTuple):
    """A contract without its content; `metadata` is JSON text."""

    position: int
    contract_id: str
    session_id: str
    contract_type: str
    status: str
    created_at: str
    completed_at: str | None
    request_id: str | None
    parent_id: str | None
    metadata: str

    def links(self) -> list[str]:
        """The contracts with which it belongs together: its REQUEST, its parent, and the try before it."""
        found = [self.request_id, self.parent_id]
        if '"resumes"' in self.metadata or '"retry_of"' in self.metadata:
            try:
                tries = _links_of(self.metadata)
                found += [tries.resumes, tries.retry_of]
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                pass  # another program wrote something else
        return [each for each in found if isinstance(each, str)]


@dataclass(frozen=True)
class Unit:
    """Contracts that belong together, in the order of their positions."""

    parts: tuple[Part, ...]

    @property
    def first(self) -> Part:
        """The contract with the lowest position."""
        return self.parts[0]

    @property
    def last_position(self) -> int:
        """The position of the contract that was written last."""
        return self.parts[-1].position

    @cached_property
    def ids(self) -> list[str]:
        """The ids of its contracts."""
        return [part.contract_id for part in self.parts]

    @cached_property
    def positions(self) -> list[int]:
        """The positions of its contracts."""
        return [part.position for part in self.parts]

    @cached_property
    def is_open(self) -> bool:
        """Whether a REQUEST in it has not ended."""
        return any(part.contract_type == REQUEST and part.status in OPEN for part in self.parts)

    @cached_property
    def ended_at(self) -> str:
        """When its last contract was written or ended (RFC 3339)."""
        return max(max(part.created_at, part.completed_at or "") for part in self.parts)

    @property
    def exchanges(self) -> int:
        """The number of exchanges: of REQUESTs, and of RESPONSEs whose REQUEST is not in the ledger."""
        requests = {part.contract_id for part in self.parts if part.contract_type == REQUEST}
        return len(requests) + sum(
            part.contract_type != REQUEST and part.request_id not in requests for part in self.parts
        )

    @property
    def statuses(self) -> frozenset[str]:
        """How its exchanges ended: the status of each REQUEST, or `interrupted` if that is the status of its RESPONSE."""
        interrupted = {part.request_id for part in self.parts if part.status == INTERRUPTED}
        return frozenset(
            INTERRUPTED if part.contract_id in interrupted else part.status
            for part in self.parts
            if part.contract_type == REQUEST or part.request_id is None
        )


def heads_of(rows: Rows, parts: Sequence[Part]) -> list[Part]:
    """Those of `parts` that belong to no earlier contract: only they can be the first of a unit."""
    links = [(part, part.links()) for part in parts]
    named = list({each for _, its in links for each in its})
    positions = dict(rows(statements.POSITIONS_OF, jsonio.encode(named))) if named else {}
    return [part for part, its in links if all(positions.get(each, part.position) >= part.position for each in its)]


def units_of(rows: Rows, members: Iterable[Part]) -> list[Unit]:
    """The whole units to which `members` belong."""
    found: dict[str, Part] = {}
    pairs: list[tuple[str, str]] = []
    new = list(members)
    while new:
        found |= {part.contract_id: part for part in new}
        ids = jsonio.encode([part.contract_id for part in new if part.contract_type == REQUEST])
        links = [(part.contract_id, each) for part in new for each in part.links()]
        links += rows(statements.NEXT_TRIES, ids)
        pairs += links
        linked = {each for _, each in links}
        more = [*rows(statements.PARTS_ANSWERING, ids), *rows(statements.PARTS_BELOW, ids)]
        if missing := [each for each in linked if each not in found]:
            more += rows(statements.PARTS, jsonio.encode(missing))
        new = list({part.contract_id: part for part in map(Part._make, more) if part.contract_id not in found}.values())
    return _grouped(found, pairs)


def _grouped(found: dict[str, Part], pairs: Iterable[tuple[str, str]]) -> list[Unit]:
    leaders = {each: each for each in found}

    def leader(each: str) -> str:
        while leaders[each] != each:
            leaders[each] = each = leaders[leaders[each]]
        return each

    for one, other in pairs:
        if one in found and other in found:
            leaders[leader(one)] = leader(other)
    groups: dict[str, list[Part]] = {}
    for part in sorted(found.values()):
        groups.setdefault(leader(part.contract_id), []).append(part)
    return [Unit(tuple(parts)) for parts in groups.values()]

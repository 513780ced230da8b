"""Calls: a REQUEST with the RESPONSE that answers it. Equal calls and equal failures are kept once, with a count."""

from dataclasses import dataclass, field
from typing import NamedTuple

from aorch.memory.contract_content import Leaf

_MOST_VALUES = 4


class Request(NamedTuple):
    """The parts of a REQUEST that are needed until it is answered.

    `outermost`: it has no parent, and its sender was not called earlier in the session. `said` is its spoken text. `digest`
    identifies the arguments as a whole.
    """

    contract_id: str
    number: int
    from_agent: str
    agent: str
    capability: str
    arguments: list[Leaf]
    said: str
    outermost: bool
    changes: bool | None
    digest: int = 0


class Call(NamedTuple):
    """A REQUEST with its RESPONSE. `news` are the result values that no earlier result had under the same key."""

    request: Request
    contract_id: str
    number: int
    results: list[Leaf]
    news: list[Leaf]


@dataclass
class Failure:
    """An error of a capability that occurred `count` times. `last` is the newest call that failed with it.

    `alike`: all these calls had the same arguments. `cancelled`: they were cancelled.
    """

    lines: list[tuple[str, ...]]
    last: Call
    contract_ids: list[str] = field(default_factory=list)
    count: int = 0
    alike: bool = True
    cancelled: bool = False


@dataclass
class RepeatedCall:
    """A call that was made `count` times with the same arguments: the newest one, and how its results changed."""

    last: Call
    count: int = 1
    changed: dict[tuple[str, str, int], list[Leaf]] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)

    def again(self, call: Call) -> None:
        """Add the next call."""
        before = {(leaf.top, leaf.key, leaf.group): leaf for leaf in self.last.results}
        self.ends = self.ends or [self.last.contract_id]
        for leaf in call.results:
            path = (leaf.top, leaf.key, leaf.group)
            if path in before and before[path].text != leaf.text:
                values = self.changed.setdefault(path, [before[path]])
                values.append(leaf)
                del values[1 : -_MOST_VALUES + 1]
        self.ends.append(call.contract_id)
        del self.ends[1 : -_MOST_VALUES + 1]
        self.last, self.count = call, self.count + 1


@dataclass
class CapabilityCalls:
    """The distinct calls of one capability, by the digest of their arguments; the newest is last."""

    series: dict[int, RepeatedCall] = field(default_factory=dict)
    count: int = 0

    def add(self, call: Call, times: int, most: int) -> bool:
        """Add a call, made for the `times`th time. If there are more than `most`, forget the oldest one.

        Return whether one was forgotten.
        """
        self.count += 1
        series = self.series.pop(call.request.digest, None)
        if series is None:
            series = RepeatedCall(call)
        else:
            series.again(call)
        series.count = max(series.count, times)
        self.series[call.request.digest] = series
        if len(self.series) <= most:
            return False
        del self.series[next(iter(self.series))]
        return True

"""CapabilityCalls: a REQUEST, the RESPONSE that answered it, and the same calls and failures as often as they came."""

from dataclasses import dataclass, field
from typing import NamedTuple

from aorch.memory.contract_content import Leaf

_MOST_VALUES = 4


class Request(NamedTuple):
    """A REQUEST as it is remembered until it is answered.

    `outermost` if no other contract led to it and no agent that was asked before sent it; `digest` is that of the arguments as
    a whole.
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
    """A REQUEST with the RESPONSE that answered it; `news` is what no earlier result had under the same key."""

    request: Request
    contract_id: str
    number: int
    results: list[Leaf]
    news: list[Leaf]


@dataclass
class Failure:
    """The same error of the same capability, as often as it came; `last` is the newest call that ended in it.

    `alike` if all of them had the very same arguments; `cancelled` if that is how they ended.
    """

    lines: list[tuple[str, ...]]
    last: Call
    contract_ids: list[str] = field(default_factory=list)
    count: int = 0
    alike: bool = True
    cancelled: bool = False


@dataclass
class RepeatedCall:
    """The same call as often as it was made: its newest end, how its values changed, and with which ends."""

    last: Call
    count: int = 1
    changed: dict[tuple[str, str, int], list[Leaf]] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)

    def again(self, call: Call) -> None:
        """Take the call's next end."""
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
    """The calls of one capability: the different ones, by their arguments, that with the newest end last."""

    series: dict[int, RepeatedCall] = field(default_factory=dict)
    count: int = 0

    def add(self, call: Call, times: int, most: int) -> bool:
        """Take a call, which is made for the `times`th time, and forget the one that was made longest ago if there are more
        than `most`; whether one was.
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

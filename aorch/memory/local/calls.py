"""Calls: a REQUEST with the RESPONSE that answers it. Equal calls and equal failures are kept once, with a count."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aorch.memory.call_effects import COMMANDS
from aorch.memory.contract_content import Contract, Leaf, is_json_start

_MOST_VALUES = 4
"""Number of results that are kept of a value that changes: a bound of memory."""
INSTRUCTION = 200
"""Characters from which a text for an agent is a prompt, and a result is prose."""


class Request(NamedTuple):
    """The parts of a REQUEST that are needed until it is answered.

    `outermost`: it has no parent, is not to the agent that began the session, and its sender began it or was not called before.
    `said` is its spoken text. `digest` identifies the arguments as a whole.
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


class Ending(NamedTuple):
    """The last exchange between a person and the agents: who said what. `asks`: the person said it, in a REQUEST. `output_of`:
    the call whose output the text is, as an answer to `whom`.
    """

    contract_id: str
    number: int
    agent: str
    text: str
    asks: bool
    output_of: "Call | None" = None
    whom: str = ""


class Copied(NamedTuple):
    """An answer to a person that has the words of another agent: whose they are, and the contract that had them first."""

    contract_id: str
    number: int
    agent: str
    whom: str
    author: str
    first_id: str


def is_prompt(asked: Request) -> bool:
    """Whether the arguments of a call are only a long text for another agent."""
    return len(asked.said) > INSTRUCTION and not asked.outermost and len(asked.arguments) == 1


def commands(arguments: Sequence[Leaf]) -> list[Leaf]:
    """What a call executes: a command, a statement or code."""
    return [leaf for leaf in arguments if leaf.is_string and leaf.key.lower() in COMMANDS]


def is_command(arguments: Sequence[Leaf]) -> bool:
    """Whether a call with these arguments executes a command, a statement or code, so that each one differs."""
    strings = [leaf for leaf in arguments if leaf.is_string]
    if commands(strings):
        return True
    return len(strings) == len(arguments) == 1 and " " in strings[0].text and not is_json_start(strings[0])


class Call(NamedTuple):
    """A REQUEST with its RESPONSE. `news` are the result values that no earlier result had under the same key.
    `is_empty`: the result names values, but all of them are empty. `error`: the line of a successful result that names an error.
    """

    request: Request
    contract_id: str
    number: int
    results: list[Leaf]
    news: list[Leaf]
    is_empty: bool = False
    error: str = ""


class Recorded(NamedTuple):
    """A contract with what was read of it: a REQUEST, or the call that a RESPONSE ends."""

    contract: Contract
    made: Request | Call


@dataclass
class Failure:
    """An error of a capability that occurred `count` times. `first` and `last` are the oldest and the newest call that failed
    with it.

    `alike`: all these calls had the same arguments. `cancelled`: they were cancelled.
    """

    lines: list[tuple[str, ...]]
    first: Call
    last: Call
    contract_ids: list[str] = field(default_factory=list)
    count: int = 0
    alike: bool = True
    cancelled: bool = False


@dataclass
class RepeatedCall:
    """A call that was made `count` times with the same arguments: the newest one, the number and the ID of the oldest RESPONSE,
    and how its results changed.
    """

    last: Call
    begun: tuple[int, str]
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
    """The distinct calls of one capability, by the digest of their arguments, and of the result if they change something; the
    newest is last.
    """

    series: dict[int, RepeatedCall] = field(default_factory=dict)
    count: int = 0

    def add(self, key: int, call: Call, times: int, most: int) -> bool:
        """Add a call, made for the `times`th time. Calls with the same key count as equal. If there are more than `most`,
        forget the oldest one.

        Return whether one was forgotten.
        """
        self.count += 1
        series = self.series.pop(key, None)
        if series is None:
            series = RepeatedCall(call, begun=(call.number, call.contract_id))
        else:
            series.again(call)
        series.count = max(series.count, times)
        self.series[key] = series
        if len(self.series) <= most:
            return False
        del self.series[next(iter(self.series))]
        return True

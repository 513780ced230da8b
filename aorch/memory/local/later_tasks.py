"""Finds the tasks that a person gives in the course of the work, and how important each is."""

from collections import Counter
from collections.abc import Sequence

from aorch.memory import safe_text
from aorch.memory.local.findings import Findings
from aorch.memory.local.sentence_kinds import FEWEST, asks_for, states, wishes
from aorch.memory.local.spoken_sentences import SpokenSentence

_LONGEST_TASK, _TASK, _REQUEST = 0.957, 120, 2
"""Importance of the longest of the later tasks, between the newest changes and earlier ones; and the characters that it has at
least, and how clearly it asks."""
_NEWEST_TASK, _NEWEST = 0.9605, 2
"""Importance of the newest tasks if each turn is a task, and their number: the work stands there."""
_EARLIER_TASK, _MOST = 0.9562, 4
"""The same for earlier ones, those first on which agents worked the longest."""
_CHANGES_A_TURN = 2
"""Changes for each turn of a person from which a turn is a task, and not a remark in a dialogue."""


def later_tasks(g: Findings, sentences: Sequence[SpokenSentence]) -> dict[str, float]:
    """The contracts in which a person gives a task beside the aim, with their importance."""
    aim = g.aim.contract_id if g.aim else ""
    spoken = [one for one in sentences if one.by_caller and one.contract_id != aim]
    tasks = _turns(g, spoken) if _changes(g) > _CHANGES_A_TURN * g.turns else {}
    longest = _longest(spoken)
    return {**tasks, longest: max(_LONGEST_TASK, tasks.get(longest, 0.0))}


def _changes(g: Findings) -> int:
    """How often agents changed something, or tried to."""
    return sum(calls.count for calls in g.done.values()) + sum(failure.count for failure in g.failures.values())


def _turns(g: Findings, spoken: Sequence[SpokenSentence]) -> dict[str, float]:
    newest_first = sorted({(one.number, one.contract_id) for one in spoken if _states_task(one)}, reverse=True)
    worked: dict[str, int] = {}
    end = g.count
    for number, identity in newest_first:
        worked[identity], end = end - number, number
    newest, earlier = [*worked][:_NEWEST], [*worked][_NEWEST:]
    earlier.sort(key=lambda identity: -worked[identity])
    return {
        **dict.fromkeys(newest, _NEWEST_TASK),
        **{identity: _EARLIER_TASK - 0.0002 * place for place, identity in enumerate(earlier[:_MOST])},
    }


def _states_task(one: SpokenSentence) -> bool:
    is_told = bool(one.names) or safe_text.word_count(one.sentence) >= FEWEST
    return is_told and (states(one.sentence) or wishes(one.sentence))


def _longest(spoken: Sequence[SpokenSentence]) -> str:
    """The contract in which a person asks at the greatest length for something; empty if it is short."""
    lengths: Counter[str] = Counter()
    asking: set[str] = set()
    for one in spoken:
        lengths[one.contract_id] += len(one.sentence)
        if asks_for(one.sentence) >= _REQUEST:
            asking.add(one.contract_id)
    longest = max(asking, key=lambda identity: lengths[identity], default="")
    return longest if lengths[longest] >= _TASK else ""

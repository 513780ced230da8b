"""Hints that `aorch run` prints on standard error: undeclared parameters, and which agent was chosen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from aorch.cli.render.console import note, tell, warn
from aorch.errors import AorchError

if TYPE_CHECKING:
    from aorch.agents.base import Agent, AgentCapability, AgentMetadata
    from aorch.batch.batch_line import Line
    from aorch.engine.task import Answer, Task

MAX_WARNINGS = 20
"""Maximum number of warnings for one batch."""


class Candidate(Protocol):
    """An agent of this process or of a server."""

    @property
    def agent(self) -> "Agent | AgentMetadata":
        """The agent, which has an `agent_id`."""
        ...

    @property
    def capabilities(self) -> "Mapping[str, AgentCapability]":
        """Its capabilities by name."""
        ...

    def check(self, capability: str, parameters: dict[str, Any]) -> None:
        """Raise ParametersInvalid if `parameters` do not match the schema of the capability."""
        ...


class Candidates(Protocol):
    """Agents by their capabilities."""

    @property
    def by_capability(self) -> "Mapping[str, Sequence[Candidate]]":
        """The agents that have each capability."""
        ...


def warn_of_undeclared(registry: Candidates, task: "Task", warned: set[tuple[str, str]] | None = None) -> None:
    """Warn about each parameter that no agent for `task` declares, unless the parameters are invalid anyway.

    With `warned`, warn once per capability and name, and at most MAX_WARNINGS times; it collects these pairs.
    """
    if not task.parameters:
        return
    from aorch.agents.parameters import undeclared_in

    candidates = [
        each for each in registry.by_capability.get(task.capability, ()) if task.agent_id in (None, each.agent.agent_id)
    ]
    missing = [undeclared_in(each.capabilities[task.capability].parameters, task.parameters) for each in candidates]
    names = [name for name in task.parameters if missing and all(name in each for each in missing)]
    for name in names if names and any(_accepts(each, task) for each in candidates) else ():
        if warned is not None:
            if (task.capability, name) in warned or len(warned) >= MAX_WARNINGS:
                continue
            warned.add((task.capability, name))
        warn(_warning(registry, task, name))


def warn_of_undeclared_in(registry: Candidates, chunks: "Iterator[list[Line]]") -> "Iterator[list[Line]]":
    """Yield `chunks`, and warn about each undeclared parameter once per name and capability."""
    warned: set[tuple[str, str]] = set()
    for lines in chunks:
        for line in lines:
            if line.task is not None:
                warn_of_undeclared(registry, line.task, warned)
        yield lines


def note_choice(task: "Task", registry: Candidates, answer: "Answer") -> None:
    """Print which agent answered, if several have the capability and the caller named none."""
    others = [
        each.agent.agent_id
        for each in registry.by_capability.get(task.capability, ())
        if each.agent.agent_id != answer.agent_id
    ]
    if task.agent_id is None and answer.agent_id is not None and others:
        tell(f"chosen agent: {answer.agent_id} (--agent ID chooses another: {', '.join(others)})")


def note_reused(answer: "Answer") -> None:
    """Print how many results of a resumed pipeline were used again."""
    if answer.reused is None:
        note("this task is not a pipeline, so all of it was run again")
    else:
        count = len(answer.reused)
        note(f"{count} result{' was' if count == 1 else 's were'} reused from the ledger")


def _accepts(registered: Candidate, task: "Task") -> bool:
    """Whether the parameters are otherwise valid. If not, the task fails with an error that is more specific."""
    try:
        registered.check(task.capability, task.parameters)
    except AorchError:
        return False
    return True


def _warning(registry: Candidates, task: "Task", name: str) -> str:
    from aorch.agents.parameters import json_schema

    declared = json_schema(registry.by_capability[task.capability][0].capabilities[task.capability].parameters)
    return f"{task.capability} does not declare the parameter {name!r} (it has: {', '.join(declared['properties'])})"

"""Delegation: an agent starts a task while it executes another one. Cycles and deadlocks are rejected, and too long lines."""

from aorch import jsonio
from aorch.agents.registered import Registered
from aorch.engine.invocation import Invocation
from aorch.engine.task import Task
from aorch.errors import AgentBusy, DelegationRefused
from aorch.ledger.ledger import Ledger


def calling_agent(
    ledger: Ledger, task: Task, parent_id: str, max_depth: int, invocation: Invocation | None
) -> str | None:
    """The agent that executes the parent REQUEST and delegates `task`; None if that is unknown.

    `invocation` is the agent call that runs here now. Raises DelegationRefused: no such parent, too deep, or a cycle.
    """
    ancestors = ledger.ancestors(parent_id)
    if not ancestors:
        raise DelegationRefused(
            f"parent {parent_id} is not a REQUEST in the ledger",
            "Pass on the task_id of the task that the agent was given.",
        )
    if len(ancestors) >= max_depth:
        raise DelegationRefused(
            f"delegated {len(ancestors)} levels deep; the limit is {max_depth} (max_depth)",
            "End the chain of calls earlier, or raise max_depth in aorch.toml.",
        )
    for contract_id, capability in ancestors:
        if capability == task.capability and ledger.payload(contract_id) == jsonio.encode(task.parameters):
            raise DelegationRefused(
                f"a cycle: its ancestor {contract_id} asks for {capability} with the same parameters",
                "Do not call the same capability again, or change the parameters.",
            )
    if invocation is not None and invocation.executor.ledger is ledger and invocation.request_id == parent_id:
        return invocation.agent.agent_id
    return ledger.agent_of(parent_id)


def reject_deadlock(ledger: Ledger, registered: Registered, parent_id: str) -> None:
    """Raise DelegationRefused if every slot of the agent is held by a task that waits for this one."""
    ancestors = {contract_id for contract_id, _ in ledger.ancestors(parent_id)}
    agent_id, limit = registered.agent.agent_id, registered.agent.concurrency
    if registered.shared is None:
        held = len(registered.holders & ancestors)
    else:  # processes that an agent starts share its slots
        held = sum(ledger.agent_of(each) == agent_id and ledger.response_id(each) is None for each in ancestors)
    if limit is not None and held >= limit:
        raise DelegationRefused(
            f"{agent_id} calls itself and runs at most {limit} at a time, so it would wait for itself forever",
            "Raise its concurrency, or let another agent do this part.",
        )


def reject_wait(
    ledger: Ledger, registered: Registered, capability: str, parent_id: str | None, max_line: float
) -> None:
    """Raise DelegationRefused if a task for this busy agent would wait for itself, and AgentBusy, with an estimate of when it
    could start, if `max_line` tasks wait already.
    """
    if parent_id is not None:
        reject_deadlock(ledger, registered, parent_id)
    if (line := len(registered.line)) >= max_line:
        raise AgentBusy(
            f"{registered.agent.agent_id} is busy, and {line} {'task waits' if line == 1 else 'tasks wait'} for it; the limit is"
            f" {max_line} (serve.max_line)",
            "Try again later, or queue the task (POST /v1/tasks).",
            retry_after_s=registered.retry_after_s(capability),
            delivered=False,
        )

"""Queued tasks for agents that only workers over HTTP have: their capabilities are checked like those of agents here."""

from collections.abc import Sequence

from aorch.agents.base import AgentCapability
from aorch.agents.parameters import ParameterCheck
from aorch.engine.executor import TaskExecutor
from aorch.engine.invocation import Invocation
from aorch.engine.routing import agent_for, discover
from aorch.engine.task import Task
from aorch.errors import NoAgent, ParametersInvalid
from aorch.ledger.work_offers import Offered


async def only_workers_have(executor: TaskExecutor, task: Task) -> bool:
    """Whether no agent here can execute `task`, but workers over HTTP offer its capability. Raises LedgerError."""
    await discover(executor.registry, task)
    try:
        agent_for(executor.registry, task)
    except NoAgent:
        return bool(executor.ledger.work.offers.of(task.capability, max_age_s=0))
    except ParametersInvalid:  # of an agent here
        pass
    return False


def redact_for(executor: TaskExecutor, task: Task, offered: Sequence[Offered], outer: Invocation | None) -> None:
    """Prepare the redaction of `task` if an agent that a worker offers marks some of its parameters as secret.

    Raises ConfigInvalid if the key of redacted values cannot be used.
    """
    declared = [each.parameters for each in offered if "writeOnly" in repr(each.parameters)]
    if declared:
        from aorch.engine.redaction import Redactor, redaction_of  # noqa: PLC0415  most tasks need none
        from aorch.engine.secret_inputs import secret_schemas  # noqa: PLC0415

        declared += secret_schemas(executor.registry, task.capability)
        above = outer.redaction if outer is not None else None
        task.redaction = redaction_of(executor.redactor or Redactor(executor.redact_config), task, declared, above)
        task.idempotency = task.redaction.key(task.idempotency)


def is_idempotent(offered: Sequence[Offered], task: Task) -> bool | None:
    """Whether the capability of the first agent that workers offer for `task` is idempotent; None if they offer none.

    Raises ParametersInvalid.
    """
    for each in offered:
        if task.agent_id in (None, each.agent_id) and task.require.items() <= each.labels.items():
            capability = AgentCapability(task.capability, each.description, each.parameters, each.idempotent)
            ParameterCheck(capability)(task.parameters)
            return each.idempotent
    return None

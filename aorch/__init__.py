"""aorch: call any agent by capability, with every exchange in a ledger.

    Agent, AgentCapability      extend and declare                             aorch/agents/base.py
    capability                  a function as an agent                         aorch/agents/function.py
    report_progress             report the progress of a task                  aorch/agents/task_progress.py
    AgentTask, AgentAnswer      the argument and the result of `execute`       aorch/agents/base.py
    Orchestrator                register, orchestrate, list, read              aorch/orchestrator.py
    TaskDict, AnswerDict        argument and result of `orchestrate`           aorch/engine/task.py
    Task, Answer                argument and result of `perform`               aorch/engine/task.py
    Pipeline, Step              steps as one capability                        aorch/engine/pipeline.py
    AorchError, NotFound, …     the base class of the errors, and each one     aorch/errors.py

To find where a REQUEST is written: `engine/executor.py` creates and commits it with `write_request` of
`ledger/ledger.py`. Imports point one way: cli → server → orchestrator → bootstrap → worker, batch, trace, memory,
govern → client → engine → agents, ledger → config → net, process → logs → jsonio, clock, ids, backoff, version → errors.
"""

from typing import TYPE_CHECKING, Any

from aorch.version import VERSION

if TYPE_CHECKING:
    from aorch.agents import (
        Agent,
        AgentAnswer,
        AgentCapability,
        AgentMetadata,
        AgentStatus,
        AgentTask,
        RetryPolicy,
    )
    from aorch.agents.function import capability
    from aorch.agents.task_progress import report_progress
    from aorch.config.pipeline_config import Step
    from aorch.engine.pipeline import Pipeline
    from aorch.engine.task import Answer, AnswerDict, MappedAnswerDict, Task, TaskDict
    from aorch.errors import (
        AgentBusy,
        AgentCancelled,
        AgentFailed,
        AgentLost,
        AgentNotStarted,
        AgentOutputTooLarge,
        AgentTimedOut,
        AgentUnreachable,
        AorchError,
        ConfigInvalid,
        ConfigUntrusted,
        Conflict,
        ContentErased,
        DelegationRefused,
        Expired,
        Forbidden,
        Interrupted,
        InvalidJSON,
        LeaseLost,
        LedgerBusy,
        LedgerError,
        LedgerFull,
        LedgerGone,
        LedgerInvalid,
        LedgerOutcomeUnknown,
        LedgerReadOnly,
        LedgerTooNew,
        LlmOff,
        NoAgent,
        NoAgentAvailable,
        NoAgentReachable,
        NotAuthorised,
        NotFound,
        OutputFailed,
        ParametersInvalid,
        QueueFull,
        ReferenceInvalid,
        ServerTooOld,
        ServiceFailed,
        ServiceRefused,
        ServiceUnreachable,
        StillRunning,
        UsageError,
        WaitedTooLong,
        WebhooksOff,
    )
    from aorch.orchestrator import Orchestrator


__version__ = VERSION
_HOMES = {
    "Agent": "aorch.agents",
    "AgentAnswer": "aorch.agents",
    "AgentCapability": "aorch.agents",
    "AgentMetadata": "aorch.agents",
    "AgentStatus": "aorch.agents",
    "AgentTask": "aorch.agents",
    "Answer": "aorch.engine.task",
    "AnswerDict": "aorch.engine.task",
    "MappedAnswerDict": "aorch.engine.task",
    "Orchestrator": "aorch.orchestrator",
    "Pipeline": "aorch.engine.pipeline",
    "RetryPolicy": "aorch.agents",
    "Step": "aorch.config.pipeline_config",
    "Task": "aorch.engine.task",
    "TaskDict": "aorch.engine.task",
    "capability": "aorch.agents.function",
    "report_progress": "aorch.agents.task_progress",
}
"""The module that defines each public name."""
__all__ = [
    "Agent",
    "AgentAnswer",
    "AgentBusy",
    "AgentCancelled",
    "AgentCapability",
    "AgentFailed",
    "AgentLost",
    "AgentMetadata",
    "AgentNotStarted",
    "AgentOutputTooLarge",
    "AgentStatus",
    "AgentTask",
    "AgentTimedOut",
    "AgentUnreachable",
    "Answer",
    "AnswerDict",
    "AorchError",
    "ConfigInvalid",
    "ConfigUntrusted",
    "Conflict",
    "ContentErased",
    "DelegationRefused",
    "Expired",
    "Forbidden",
    "Interrupted",
    "InvalidJSON",
    "LeaseLost",
    "LedgerBusy",
    "LedgerError",
    "LedgerFull",
    "LedgerGone",
    "LedgerInvalid",
    "LedgerOutcomeUnknown",
    "LedgerReadOnly",
    "LedgerTooNew",
    "LlmOff",
    "MappedAnswerDict",
    "NoAgent",
    "NoAgentAvailable",
    "NoAgentReachable",
    "NotAuthorised",
    "NotFound",
    "Orchestrator",
    "OutputFailed",
    "ParametersInvalid",
    "Pipeline",
    "QueueFull",
    "ReferenceInvalid",
    "RetryPolicy",
    "ServerTooOld",
    "ServiceFailed",
    "ServiceRefused",
    "ServiceUnreachable",
    "Step",
    "StillRunning",
    "Task",
    "TaskDict",
    "UsageError",
    "WaitedTooLong",
    "WebhooksOff",
    "capability",
    "report_progress",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import aorch` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  see above

    return getattr(import_module(_HOMES.get(name, "aorch.errors")), name)


def __dir__() -> list[str]:
    """All public names, including those that were not imported yet."""
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING"})

"""aorch: any agent, called by what it can do, with every exchange on record.

    Agent, AgentCapability   extend and declare                         aorch/agents/base.py
    Orchestrator             register, orchestrate, list, read          aorch/core/orchestrator.py
    Pipeline, Step           steps as one capability                    aorch/core/pipeline.py
    Task, Answer             what is asked and what comes of it         aorch/core/task.py
    AorchError               the root of every error, with its codes    aorch/errors.py

Where a REQUEST is written: `aorch/core/exchange.py` asks for it, `aorch/ledger/store.py` does it.
The layers, each importing only downward: cli → core → ledger and agents → config → json → errors.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aorch.agents import Agent, AgentCapability
    from aorch.core.orchestrator import Orchestrator
    from aorch.core.pipeline import Pipeline
    from aorch.core.task import Answer, Task
    from aorch.errors import AorchError
    from aorch.pipelines import Step

__version__ = "0.1.0"

_HOMES = {
    "Agent": "aorch.agents",
    "AgentCapability": "aorch.agents",
    "Answer": "aorch.core.task",
    "AorchError": "aorch.errors",
    "Orchestrator": "aorch.core.orchestrator",
    "Pipeline": "aorch.core.pipeline",
    "Step": "aorch.pipelines",
    "Task": "aorch.core.task",
}
__all__ = ["Agent", "AgentCapability", "Answer", "AorchError", "Orchestrator", "Pipeline", "Step", "Task"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import aorch` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  see above

    return getattr(import_module(_HOMES[name]), name)

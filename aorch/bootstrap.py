"""The composition root: the only place that creates the objects of the program from a Config."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from aorch import jsonio
from aorch.agents import Agent, completion_cache, entry_points, kinds
from aorch.agents.example import ExampleAgent
from aorch.agents.registry import Registry
from aorch.config.settings import Config
from aorch.engine.executor import TaskExecutor
from aorch.ledger.changes import Changes
from aorch.ledger.ledger import Ledger

if TYPE_CHECKING:
    from aorch.trace.embedded_delivery import EmbeddedDelivery
    from aorch.trace.scheduler import BackgroundDelivery


def registry(config: Config) -> Registry:
    """The example agent, the configured agents and pipelines in the file's order, then those of installed packages."""
    declared = [ExampleAgent(), *kinds.configured(config), *_pipelines(config), *entry_points.installed()]
    agents = Registry(declared, config.routing.policy)
    completion_cache.remember(config, agents)
    return agents


def _pipelines(config: Config) -> Iterator[Agent]:
    if config.pipelines:
        from aorch.engine.pipeline import Pipeline  # noqa: PLC0415  only where there is one

        for name, declared in config.pipelines.items():
            yield Pipeline.of(name, declared)


def executor(config: Config, agents: Registry) -> TaskExecutor:
    """An executor for `agents` over the configured ledger, which is created, upgraded and recovered if needed."""
    ledger = Ledger(config.ledger)
    # AORCH_PARENT_ID is inherited by every process that an agent starts, and may belong to another ledger
    parent_id = jsonio.storable_text(config.parent_id) if config.parent_id else None
    if parent_id and not ledger.ancestors(parent_id):
        parent_id = None
    return TaskExecutor(agents, ledger, config.timeout_s, config.max_depth, parent_id)


def background(config: Config, changes: Changes, report: Callable[[str], None]) -> "BackgroundDelivery":
    """Delivery to Trace in the background of a service, not started yet; `report` gets its messages."""
    from aorch.trace.scheduler import BackgroundDelivery  # noqa: PLC0415  it takes aiohttp, which `aorch run` does not

    return BackgroundDelivery(config, changes, report)


def embedded_delivery(config: Config) -> "EmbeddedDelivery":
    """Delivery to Trace by a program that embeds aorch, not started yet."""
    from aorch.trace.embedded_delivery import EmbeddedDelivery  # noqa: PLC0415  `aorch run` does not use it

    return EmbeddedDelivery(config)

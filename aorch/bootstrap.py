"""The composition root: the only place that creates the objects of the program from a Config."""

import functools
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from aorch import jsonio
from aorch.agents import Agent, completion_cache, entry_points, kinds
from aorch.agents.example import ExampleAgent
from aorch.agents.registered import Registered
from aorch.agents.registry import Registry
from aorch.agents.shared_slots import Limits
from aorch.config.ledger_location import LedgerLocation
from aorch.config.settings import Config
from aorch.engine.executor import TaskExecutor
from aorch.ledger.changes import Changes
from aorch.ledger.database import AgentLimits, Database
from aorch.ledger.ledger import Ledger
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from aorch.engine.executor_at_server import Delegate
    from aorch.engine.registrations import Registrations
    from aorch.trace.embedded_delivery import EmbeddedDelivery
    from aorch.trace.scheduler import BackgroundDelivery


def registry(config: Config) -> Registry:
    """The example agent, the configured agents and pipelines in the file's order, then those of installed packages."""
    agents: list[Agent] = [ExampleAgent()]
    if config.agents:
        agents += kinds.configured(config)
    if config.pipelines:
        from aorch.engine.pipeline import Pipeline  # noqa: PLC0415  only if there is one

        agents += [Pipeline.of(name, declared) for name, declared in config.pipelines.items()]
    agents += map(entry_points.agent_of, entry_points.entries())
    registered = Registry(agents, config.routing.policy, partial(_limits_of, config.ledger))
    if len(agents) > 1:
        completion_cache.remember(config, registered)
    return registered


def all_agents(config: Config) -> Registry:
    """Like `registry`, with the registered agents of the ledger, which is only read. Raises LedgerError."""
    agents, database = registry(config), Database(config.ledger)
    if database.exists():
        from aorch.ledger.agent_rows import AgentRows  # noqa: PLC0415  `aorch run` does not need it

        rows = AgentRows(database)
        if rows.all():
            from aorch.engine.registered_agents import RegisteredAgents  # noqa: PLC0415  most ledgers have none

            RegisteredAgents(config, agents, rows).reload()
    return agents


def _limits_of(ledger: LedgerLocation, agent: Agent) -> Limits:
    return AgentLimits(ledger, agent.agent_id, agent.concurrency, agent.rate_per_min)


async def check_agents(
    config: Config, agents: Registry, agent_ids: Iterable[str] | None = None
) -> dict[str, str | None]:
    """Open, check and close these of `agents` (default: all), and commit the states of remote ones. Returns the problem of each.

    Raises NotFound and LedgerError.
    """
    chosen = list(agents) if agent_ids is None else [agents.get(agent_id) for agent_id in agent_ids]
    try:
        await agents.refresh(chosen, max_age_s=0)
        if any(each.agent.is_remote for each in chosen) and Database(config.ledger).exists():
            await _write_states(config, chosen)
        return {each.agent.agent_id: agents.check(each) for each in chosen}
    finally:
        await agents.close()


async def _write_states(config: Config, agents: Iterable[Registered]) -> None:
    from aorch.engine.registrations import write_states  # noqa: PLC0415  only if there are remote agents

    ledger = await in_thread(lambda: Ledger(config.ledger))
    try:
        await write_states(ledger, agents)
    finally:
        await in_thread(ledger.close)


def executor(config: Config, agents: Registry) -> TaskExecutor:
    """An executor for `agents` over the configured ledger, which is created, upgraded and recovered if needed."""
    ledger = Ledger(config.ledger)
    # AORCH_PARENT_ID is inherited by every process that an agent starts, and may belong to another ledger
    parent_id = jsonio.storable_text(config.parent_id) if config.parent_id else None
    if parent_id and not ledger.ancestors(parent_id):
        parent_id = None
    known = functools.cache(partial(_registrations, config, agents, ledger))
    if ledger.has_agents:
        known().reload()
    return TaskExecutor(config, agents, ledger, known, parent_id)


def executor_at_server(config: Config, agents: Registry, ledger: Ledger, delegate: "Delegate") -> TaskExecutor:
    """An executor for a worker whose `ledger` is that of a server. `delegate` sends what its agents delegate."""
    from aorch.engine.executor_at_server import ExecutorAtServer  # noqa: PLC0415  only for such a worker

    found = ExecutorAtServer(config, agents, ledger, partial(_registrations, config, agents, ledger))
    found.delegate = delegate
    return found


def _registrations(config: Config, agents: Registry, ledger: Ledger) -> "Registrations":
    from aorch.engine.registrations import Registrations  # noqa: PLC0415  most ledgers have none

    return Registrations(config, agents, ledger)


def background(config: Config, changes: Changes, report: Callable[[str], None]) -> "BackgroundDelivery":
    """Delivery to Trace in the background of a service, not started yet; `report` gets its messages."""
    from aorch.trace.scheduler import BackgroundDelivery  # noqa: PLC0415  it takes aiohttp, which `aorch run` does not

    return BackgroundDelivery(config, changes, report)


def embedded_delivery(config: Config) -> "EmbeddedDelivery":
    """Delivery to Trace by a program that embeds aorch, not started yet."""
    from aorch.trace.embedded_delivery import EmbeddedDelivery  # noqa: PLC0415  `aorch run` does not use it

    return EmbeddedDelivery(config)

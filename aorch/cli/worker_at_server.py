"""`aorch worker` at a server: it claims tasks over HTTP, and runs them with the agents of this machine."""

import asyncio
import os
import platform
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from aorch import bootstrap
from aorch.agents.registry import Registry
from aorch.cli.interrupts import end_now_if_work_remains
from aorch.cli.render.console import complain, note, warn
from aorch.cli.streams import set_aside
from aorch.client.connection import ServerConnection
from aorch.client.delegated_tasks import DelegatedTasks
from aorch.client.limits_place import place_of_limits
from aorch.client.remote_ledger import RemoteLedger
from aorch.client.server_address import ServerAddress
from aorch.client.work_session import WorkSession
from aorch.config.settings import Config
from aorch.engine.supervision import Supervisor
from aorch.errors import AorchError, Forbidden
from aorch.logs import LineHandler
from aorch.process.signals import ignore_signals
from aorch.process.stop import CANCEL_S, Stop
from aorch.worker.queue_worker import QueueWorker
from aorch.worker.task_log import log_task

if TYPE_CHECKING:
    from aorch.engine.executor import TaskExecutor

END_S = 5.0
"""How long the worker waits for the reports of its last tasks."""


async def work_at_server(config: Config, address: ServerAddress, parallel: int, grace_s: float, *, drain: bool) -> None:
    """Run queued tasks of the server until a signal; with `drain`, until no queued task can be started.

    Raises the errors of ServerConnection, and Forbidden if the token may not claim tasks.
    """
    log = LineHandler()
    log.attach()
    set_aside()  # agents print to standard error
    async with ServerConnection(address) as connection:
        allowed = await _allowed(connection)
        config = msgspec.structs.replace(config, ledger=place_of_limits(address.url), at_server=True)
        agents = bootstrap.registry(config)
        await agents.refresh(max_age_s=0)
        for sentence in _limit(agents, allowed):
            warn(sentence)
        session = WorkSession(
            connection, f"{platform.node()}:{os.getpid()}", partial(_offer, agents, allowed), config.queue.lease_s
        )
        ledger = RemoteLedger(session, config.ledger, complain, allowed, drain=drain)
        executor = bootstrap.executor_at_server(config, agents, ledger, DelegatedTasks(connection, warn))
        await session.open()
        if not drain:
            note(f"running tasks of {address.url}, {parallel} at once; press Ctrl-C to stop")
        done = await _work(executor, ledger, session, parallel, grace_s, drain=drain)
    log.flush()
    ignore_signals()
    note(f"{done} {'task' if done == 1 else 'tasks'} finished")
    await end_now_if_work_remains(0)


async def _work(
    executor: "TaskExecutor", ledger: RemoteLedger, session: WorkSession, parallel: int, grace_s: float, *, drain: bool
) -> int:
    """Work until a signal or the end of the queue; returns the number of finished tasks."""
    worker = QueueWorker(executor, parallel, complain, log_task)
    stop = Stop(grace_s, runs_code=executor.registry.runs_code())
    stop.on_signals()
    supervisor = Supervisor(warn)
    supervisor.start("lease", session.keep)
    if not drain:
        supervisor.start("server", ledger.run)
    working = supervisor.start("queue", partial(worker.run, drain=drain))
    told = asyncio.create_task(stop.requested.wait())
    await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    await worker.stop(grace_s, CANCEL_S, stop.hurry)
    await supervisor.stop()
    await executor.close()
    await executor.registry.close()
    try:
        await ledger.end(END_S)
    except AorchError as error:
        warn(f"the lease was not ended: {error}; the server ends it later")
    return worker.done


async def _allowed(connection: ServerConnection) -> set[str] | None:
    """The capabilities that the token allows (None: any). Raises Forbidden without the scope `work`."""
    rights: dict[str, Any] = await connection.get("/v1/")
    if rights["token_required"] and "work" not in rights["scopes"]:
        raise Forbidden(
            "the token is missing, invalid or lacks the scope 'work'",
            "Set AORCH_TOKEN to a token from `aorch tokens create NAME --scope work` on the server.",
        )
    return None if rights["capabilities"] is None else set(rights["capabilities"])


def _limit(agents: Registry, allowed: set[str] | None) -> list[str]:
    """Remove pipelines with steps that the token does not allow. Returns what the worker does not offer, as sentences."""
    if allowed is None:
        return []
    left_out = []
    for each in [each for each in agents if each.agent.kind == "pipeline" and each.agent.agent_id in allowed]:
        if missing := set(each.agent.asks_for()) - allowed:
            agent_id, names = each.agent.agent_id, ", ".join(sorted(missing))
            left_out.append(f"pipeline {agent_id} is not offered: the token does not allow its steps ({names})")
            agents.remove(agent_id)
    if missing := allowed - set(agents.capabilities()):
        left_out.append(f"the token allows {', '.join(sorted(missing))}, which no agent here has")
    return left_out


def _offer(agents: Registry, allowed: set[str] | None) -> list[dict[str, Any]]:
    """The agents with the capabilities that the token allows."""
    return [
        {
            "agent_id": each.agent.agent_id,
            "version": each.agent.version,
            "labels": dict(each.agent.labels),
            "capabilities": [
                capability.as_dict()
                for name, capability in each.capabilities.items()
                if allowed is None or name in allowed
            ],
        }
        for each in agents
    ]

"""The background loops of a server, each supervised: queue, recovery, leases, agents, webhooks, deliveries to Trace, metrics,
spans, retention.
"""

import asyncio
from functools import partial

import aorch
from aorch import bootstrap
from aorch.engine.lease_judge import LeaseJudge
from aorch.engine.recovery import keep_recovering
from aorch.engine.supervision import Loop, Supervisor
from aorch.errors import AorchError
from aorch.orchestrator import Orchestrator
from aorch.server.access_log import RequestLog
from aorch.telemetry.metrics import Metrics
from aorch.telemetry.span_export import BackgroundExport, check_configured
from aorch.worker.agent_watcher import AgentWatcher
from aorch.worker.queue_worker import QueueWorker
from aorch.worker.webhooks import Webhooks


class BackgroundLoops:
    """The background loops of one server. Raises ConfigInvalid for an invalid webhook secret, and if a package is missing."""

    def __init__(self, orchestrator: Orchestrator, log: RequestLog, supervisor: Supervisor, metrics: Metrics) -> None:
        self._log = log
        self._supervisor = supervisor
        config, executor = orchestrator.config, orchestrator.executor
        parallel = config.queue.parallel
        self._worker = QueueWorker(executor, parallel, self._tell, log.ended) if parallel else None
        self._loops: dict[str, Loop] = {"recovery": partial(keep_recovering, executor.ledger), "metrics": metrics.run}
        self._loops["leases"] = LeaseJudge(executor.ledger).run
        registrations = executor.registrations()
        self._loops["agents"] = registrations.follow
        self._loops["agent states"] = AgentWatcher(registrations, executor.ledger).run
        if self._worker is not None:
            self._loops["queue"] = self._worker.run
        if (webhooks := Webhooks.configured(config, executor.ledger, self._tell)) is not None:
            self._loops["webhooks"] = webhooks.run
        if config.retention.keep or config.retention.max_size:
            from aorch.govern.retention import Retention  # noqa: PLC0415  most services keep everything

            self._loops["retention"] = Retention(config).run
        if config.trace_url:
            self._loops["trace"] = bootstrap.background(config, executor.ledger.changes, log.tell).run

        if config.otel.endpoint:
            check_configured(config)
            export = BackgroundExport(config, aorch.__version__, executor.ledger.changes, log.tell)
            self._loops["otel"] = export.run

    def start(self) -> None:
        """Start all loops."""
        for name, loop in self._loops.items():
            self._supervisor.start(name, loop)

    def running(self) -> int:
        """The number of queued tasks that run now."""
        return self._worker.running() if self._worker else 0

    async def stop(self, grace_s: float, cancel_s: float, hurry: asyncio.Event) -> None:
        """Start no more tasks, wait for running ones up to `grace_s` or until `hurry` is set, and queue the rest again."""
        if self._worker:
            await self._worker.stop(grace_s, cancel_s, hurry)

    def _tell(self, error: AorchError) -> None:
        self._log.tell(str(error))

"""What a server does besides answering requests, each as a supervised loop: queue, recovery, webhooks, deliveries to Trace."""

import asyncio
from functools import partial

from aorch import bootstrap
from aorch.engine.recovery import keep_recovering
from aorch.engine.supervision import Loop, Supervisor
from aorch.errors import AorchError
from aorch.orchestrator import Orchestrator
from aorch.server.access_log import RequestLog
from aorch.worker.queue_worker import Worker
from aorch.worker.webhooks import Webhooks, secret


class Background:
    """The background work of one server. Raises ConfigInvalid for a webhook secret that cannot be used."""

    def __init__(self, orchestrator: Orchestrator, log: RequestLog, supervisor: Supervisor) -> None:
        self._log = log
        self._supervisor = supervisor
        config, exchanges = orchestrator.config, orchestrator.exchanges
        parallel, key = config.queue.parallel, secret(config)
        self._worker = Worker(exchanges, parallel, self._tell, log.ended) if parallel else None
        self._loops: dict[str, Loop] = {"recovery": partial(keep_recovering, exchanges.ledger)}
        if self._worker is not None:
            self._loops["queue"] = self._worker.run
        if key is not None:
            self._loops["webhooks"] = Webhooks(exchanges.ledger, key, self._tell, proxy=config.queue.webhook_proxy).run
        if config.trace_url:
            self._loops["trace"] = bootstrap.background(config, log.tell).run

    def start(self) -> None:
        """Begin."""
        for name, loop in self._loops.items():
            self._supervisor.start(name, loop)

    def running(self) -> int:
        """How many tasks are being done."""
        return self._worker.running() if self._worker else 0

    async def stop(self, grace_s: float, cancel_s: float, hurry: asyncio.Event) -> None:
        """Begin nothing more, wait up to `grace_s` for what runs (until `hurry` is set), and give the rest back."""
        if self._worker:
            await self._worker.stop(grace_s, cancel_s, hurry)

    def _tell(self, error: AorchError) -> None:
        self._log.tell(str(error))

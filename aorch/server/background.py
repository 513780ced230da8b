"""What a server does besides answering requests: the tasks of the queue, and their webhooks."""

import asyncio

from aorch.core.orchestrator import Orchestrator
from aorch.core.queue import Worker
from aorch.core.webhooks import Webhooks, secret
from aorch.errors import AorchError
from aorch.server.log import RequestLog


class Background:
    """The background work of one server. Raises ConfigInvalid for a webhook secret that cannot be used."""

    def __init__(self, orchestrator: Orchestrator, log: RequestLog) -> None:
        self._log = log
        exchanges, key = orchestrator.exchanges, secret(orchestrator.config)
        parallel = orchestrator.config.queue.parallel
        self._worker = Worker(exchanges, parallel, self._tell, log.ended) if parallel else None
        self._webhooks = None if key is None else Webhooks(exchanges.ledger, key, self._tell)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        works = [work.run() for work in (self._worker, self._webhooks) if work is not None]
        self._tasks = [asyncio.create_task(work) for work in works]

    def running(self) -> int:
        """How many tasks are being done."""
        return self._worker.running() if self._worker else 0

    async def stop(self, grace_s: float, cancel_s: float, hurry: asyncio.Event) -> None:
        """Begin nothing more, wait up to `grace_s` for what runs (until `hurry` is set), and give the rest back."""
        if self._worker:
            await self._worker.stop(grace_s, cancel_s, hurry)
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def _tell(self, error: AorchError) -> None:
        self._log.tell(str(error))

"""The values of the metrics, read from the ledger, so that each process on a ledger reports the same."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from aorch.agents.base import AgentStatus
from aorch.config.settings import Config
from aorch.engine.supervision import Turned
from aorch.ledger.commit_durations import CommitDurations, PublishedCommits, published
from aorch.ledger.ended_exchanges import EndedExchanges
from aorch.ledger.ledger import Ledger
from aorch.ledger.metric_totals import MOST_VALUES, Labels, MetricStore, MetricTotals
from aorch.ledger.outbox import OTEL, Outbox
from aorch.ledger.queue_gauges import QueueGauges, queue_gauges
from aorch.process.threads import in_thread

UP = (AgentStatus.AVAILABLE, AgentStatus.BUSY, AgentStatus.DRAINING)

PUBLISH_S = 5.0
"""How often a process publishes its commits without being scraped, and looks whether the totals are far behind."""


@dataclass(slots=True)
class MetricValues:
    """The values at one moment. `totals` as in MetricTotals. `up`: by agent, whether it can execute tasks. `due`: by
    destination, the number of contracts. `commits`: by process.
    """

    totals: Mapping[Labels, int]
    queue: QueueGauges
    up: Mapping[str, bool]
    due: Mapping[str, int] = field(default_factory=dict)
    commits: Mapping[str, CommitDurations] = field(default_factory=dict)


class Metrics:
    """Reads the metrics of the configured ledger for a process that serves or works, and publishes its commits, until `close`.

    `kind` is `serve` or `worker` (see commit_durations.py).
    """

    def __init__(self, config: Config, ledger: Ledger, kind: str) -> None:
        self._config = config
        self._store = MetricStore(config.ledger)
        self._trace = Outbox(config.ledger, reading=True) if config.trace_url else None
        self._otel = Outbox(config.ledger, reading=True, destination=OTEL) if config.otel.endpoint else None
        self._exchanges = EndedExchanges(config.ledger)
        self._published = PublishedCommits(ledger, kind)

    def values(self, agents: Iterable[Mapping[str, Any]]) -> MetricValues:
        """The values now; `agents` in their JSON form. Takes a few ms, and 5 µs for each new exchange. Raises LedgerError."""
        self._published.publish()
        totals = self._store.current()
        with self._store.database.read() as connection:
            queue = queue_gauges(connection)
        return MetricValues(
            totals.counts.copy(),
            QueueGauges(_capped(queue.tasks, totals), queue.oldest_s),
            {
                each["agent_id"]: each["status"] in UP and each["problem"] is None
                for each in islice(agents, MOST_VALUES)
            },
            self._due(),
            dict(published(self._config.ledger)),
        )

    async def run(self, turned: Turned) -> None:
        """Publish the commits of this process, and store the totals if they are far behind, until cancelled. A loop for
        supervision.py.
        """
        while True:
            await in_thread(self._publish)
            turned()
            await asyncio.sleep(PUBLISH_S)

    def close(self) -> None:
        """Publish the commits a last time, and close the files."""
        self._published.close()
        self._store.close()
        self._exchanges.close()
        for outbox in filter(None, (self._trace, self._otel)):
            outbox.close()

    def _due(self) -> dict[str, int]:
        """Nothing for a Trace that is only looked for at its default URL, and that has received nothing so far."""
        due = {}
        if self._trace is not None and (self._config.trace_configured or self._trace.reached()[0]):
            due["trace"] = self._trace.due()
        if self._otel is not None:
            due["otel"] = self._exchanges.beyond(self._otel.reached()[0])
        return due

    def _publish(self) -> None:
        self._published.publish()
        self._store.store_if_behind()


def _capped(tasks: Mapping[tuple[str, str], int], totals: MetricTotals) -> dict[tuple[str, str], int]:
    """These numbers by capability and state, the capabilities as in the totals."""
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    names = sorted({capability for capability, _ in tasks})
    shown = dict(zip(names, totals.capabilities(names), strict=True))
    for (capability, state), count in tasks.items():
        found[shown[capability], state] += count
    return dict(found)

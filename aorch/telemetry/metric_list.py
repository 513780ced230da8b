"""The metrics of `GET /metrics`: their names, types, labels and help. docs/metrics.md has the same list."""

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """A metric. A counter's samples are named with `_total`, and a histogram's with `_bucket`, `_count` and `_sum`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str

    @property
    def shown(self) -> str:
        """The name in queries and in the documentation."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


EXCHANGES = Metric("aorch_exchanges", "counter", ("capability", "agent", "status"), "Exchanges that have ended.")
DURATION = Metric(
    "aorch_exchange_duration_seconds",
    "histogram",
    ("capability", "agent"),
    "Time from the start of a task to its result, without its time in the queue.",
)
WAIT = Metric(
    "aorch_queue_wait_seconds", "histogram", ("capability",), "Time that queued tasks waited, once they have ended."
)
QUEUE_TASKS = Metric("aorch_queue_tasks", "gauge", ("capability", "state"), "Tasks in the queue now.")
QUEUE_OLDEST = Metric("aorch_queue_oldest_seconds", "gauge", (), "How long the oldest queued task has waited.")
AGENT_UP = Metric("aorch_agent_up", "gauge", ("agent",), "Whether an agent can execute tasks (1) or not (0).")
ATTEMPTS = Metric("aorch_attempts", "counter", ("agent", "outcome"), "Calls of agents for exchanges that have ended.")
OUTBOX_DUE = Metric(
    "aorch_outbox_due", "gauge", ("destination",), "Contracts that have not been delivered to a service yet."
)
COMMIT_DURATION = Metric(
    "aorch_ledger_commit_duration_seconds",
    "histogram",
    ("process",),
    "Time of a commit to the ledger, with the wait for its write lock.",
)
TOKENS = Metric("aorch_tokens", "counter", ("direction",), "Tokens that models have read (input) and written (output).")
BUILD_INFO = Metric("aorch_build_info", "gauge", ("version",), "The version of aorch; the value is always 1.")

METRICS = (
    *(EXCHANGES, DURATION, WAIT, QUEUE_TASKS, QUEUE_OLDEST, AGENT_UP),
    *(ATTEMPTS, OUTBOX_DUE, COMMIT_DURATION, TOKENS, BUILD_INFO),
)

"""Renders metrics in the text formats of Prometheus, with its client library."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from aorch.ledger import metric_totals as totals
from aorch.ledger.writer import COMMIT_BUCKETS_S
from aorch.telemetry import metric_list as metrics
from aorch.telemetry.metric_list import Metric
from aorch.telemetry.metrics import MetricValues

Labels = tuple[str, ...]


class _Values(Collector):
    def __init__(self, values: MetricValues, version: str) -> None:
        self._values, self._version = values, version

    def collect(self) -> Iterable[Family]:
        return families(self._values, self._version)


def render(values: MetricValues, version: str, accept: str) -> tuple[bytes, str]:
    """The values as text, and its content type: OpenMetrics if the header `accept` names it, otherwise Prometheus's format."""
    encode, content_type = choose_encoder(accept)
    return encode(_Values(values, version)), content_type


def families(values: MetricValues, version: str) -> Iterator[Family]:
    """Each metric with its samples, in the order of METRICS."""
    of_metric = _by_metric(values.totals)
    yield _counter(metrics.EXCHANGES, of_metric[totals.EXCHANGES])
    yield _histogram(metrics.DURATION, of_metric[totals.DURATION], totals.DURATION_BUCKETS_S)
    yield _histogram(metrics.WAIT, of_metric[totals.WAIT], totals.WAIT_BUCKETS_S)
    yield _gauge(metrics.QUEUE_TASKS, {(*labels,): count for labels, count in values.queue.tasks.items()})
    yield _gauge(metrics.QUEUE_OLDEST, {(): values.queue.oldest_s})
    yield _gauge(metrics.AGENT_UP, {(agent,): is_up for agent, is_up in values.up.items()})
    yield _counter(metrics.ATTEMPTS, of_metric[totals.ATTEMPTS])
    yield _gauge(metrics.OUTBOX_DUE, {(destination,): due for destination, due in values.due.items()})
    yield _commits(values)
    yield _counter(metrics.TOKENS, of_metric[totals.TOKENS])
    yield _gauge(metrics.BUILD_INFO, {(version,): 1})


def _by_metric(values: Mapping[totals.Labels, int]) -> dict[str, dict[Labels, int]]:
    names = (totals.EXCHANGES, totals.DURATION, totals.WAIT, totals.ATTEMPTS, totals.TOKENS)
    found: dict[str, dict[Labels, int]] = {name: {} for name in names}
    for (metric, *labels), value in values.items():
        found[metric][tuple(labels)] = value
    return found


def _counter(metric: Metric, values: Mapping[Labels, int]) -> Family:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _gauge(metric: Metric, values: Mapping[Labels, float]) -> Family:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, values: Mapping[Labels, int], limits_s: Sequence[float]) -> Family:
    """`values` as in MetricTotals: the last label is the bucket, or the sum in µs."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels in sorted({each[:-1] for each in values}):
        counts = [values.get((*labels, name), 0) for name in (*map(str, limits_s), "+Inf")]
        family.add_metric(labels, _cumulative(counts, limits_s), values.get((*labels, totals.SUM), 0) / 1_000_000)
    return family


def _commits(values: MetricValues) -> Family:
    family = HistogramMetricFamily(
        metrics.COMMIT_DURATION.name, metrics.COMMIT_DURATION.help, labels=metrics.COMMIT_DURATION.labels
    )
    for process, durations in sorted(values.commits.items()):
        family.add_metric((process,), _cumulative(durations.counts, COMMIT_BUCKETS_S), durations.sum_s)
    return family


def _cumulative(counts: Sequence[int], limits_s: Sequence[float]) -> list[tuple[str, float]]:
    """The buckets as Prometheus has them: each contains all shorter durations."""
    buckets, total = [], 0
    for name, count in zip((*map(str, limits_s), "+Inf"), counts, strict=True):
        total += count
        buckets.append((name, float(total)))
    return buckets

"""docs/metrics.md and the files in docs/metrics/ name exactly the metrics that exist."""

import json
import re
from pathlib import Path

import pytest

from aorch.telemetry.metric_list import METRICS

DOCS = Path(__file__).parents[2] / "docs"
SAMPLES = {
    name
    for metric in METRICS
    for name in (
        [f"{metric.name}_{part}" for part in ("bucket", "count", "sum")]
        if metric.kind == "histogram"
        else [metric.shown]
    )
}
LABELS = {"capability", "agent", "status", "state", "outcome", "destination", "process", "direction", "version", "le"}


def expressions() -> list[str]:
    """The queries of the dashboard."""
    dashboard = json.loads((DOCS / "metrics/grafana-dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_page_lists_every_metric_with_its_type_labels_and_meaning() -> None:
    rows = re.findall(r"^\| `(aorch_\w+)` \| (\w+) \|(.*?)\| (.*) \|$", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    listed = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), about) for name, kind, labels, about in rows]
    assert listed == [(metric.shown, metric.kind, metric.labels, metric.help) for metric in METRICS]


def test_the_page_explains_every_label() -> None:
    explained = set(re.findall(r"^\| `(\w+)` \| [^|]* \|$", (DOCS / "metrics.md").read_text(), re.MULTILINE))
    assert explained | {"version"} == {label for metric in METRICS for label in metric.labels}


@pytest.mark.parametrize("query", [*expressions(), (DOCS / "metrics/alerts.yml").read_text()])
def test_a_query_uses_only_metrics_and_labels_that_exist(query: str) -> None:
    assert set(re.findall(r"\baorch_\w+", query)) <= SAMPLES
    grouped = {name.strip() for group in re.findall(r"by \(([^)]*)\)", query) for name in group.split(",")}
    selected = {
        name for chosen in re.findall(r"aorch_\w+{([^}]*)}", query) for name in re.findall(r"(\w+)\s*[=!]", chosen)
    }
    assert grouped | selected <= LABELS


def test_every_metric_but_the_version_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"\baorch_\w+?(?=_bucket|_sum|_count|\b)", " ".join(expressions())))
    assert shown == {metric.shown for metric in METRICS} - {"aorch_build_info"}

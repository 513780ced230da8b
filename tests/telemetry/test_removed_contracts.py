"""Metrics and spans of contracts that are erased or pruned."""

from contextlib import closing
from typing import Any

from doubles import running
from homes import Home
from otlp_double import OtlpDouble
from rows import put, request, response
from scrapes import Samples, samples

from aorch.config.settings import Config
from aorch.ledger.ledger import Ledger
from aorch.telemetry.exposition import render
from aorch.telemetry.metrics import Metrics


def totals(home: Home) -> Samples:
    """The counters and histograms that a server reports, without those of its own commits."""
    ledger = Ledger(home.ledger)
    with closing(ledger), closing(Metrics(Config(home.ledger, trace_url=""), ledger, "serve")) as metrics:
        found = samples(render(metrics.values([]), "1", "")[0].decode())
    return {
        key: number
        for key, number in found.items()
        if key[0].endswith(("_total", "_bucket", "_count", "_sum")) and "commit" not in key[0]
    }


def test_no_total_changes_when_contracts_are_erased_and_then_pruned(home: Home) -> None:
    old = {"created_at": "2026-01-01T00:00:00.000Z", "completed_at": "2026-01-01T00:00:00.000Z"}
    requests = [request(**old) for _ in range(20)]
    put(home.ledger, *(row for each in requests for row in (each, response(each, **old))))
    home.aorch("run", "echo", "text=hi", "--session", "secret")
    before = totals(home)
    assert sum(number for (name, _), number in before.items() if name == "aorch_exchanges_total") == 21
    done = home.aorch("contracts", "erase", "--session", "secret", "--yes", "--reason", "test")
    assert done.code == 0, done.err
    assert totals(home) == before
    done = home.aorch("ledger", "prune", "--keep", "30d", "--without-trace")
    assert done.code == 0, done.err
    assert home.rows("SELECT count(*) FROM contracts") == [(2,)]
    assert totals(home) == before
    home.aorch("run", "echo", "text=hi")
    labels = {("capability", "echo"), ("agent", "agent_example_001"), ("status", "completed")}
    assert totals(home)["aorch_exchanges_total", frozenset(labels)] == 22


def test_spans_of_erased_contracts_have_no_content(home: Home) -> None:
    with running(OtlpDouble()) as receiver:
        home.write("aorch.toml", f'[otel]\nendpoint = "{receiver.url}"\ncontent = true\n')
        home.aorch("run", "echo", "text=hidden", "--session", "secret")
        assert home.aorch("contracts", "erase", "--session", "secret", "--yes", "--reason", "test").code == 0
        done: Any = home.aorch("otel", "push")
        assert (done.code, done.out) == (0, "1 exported, 0 due\n")
    assert "hidden" not in str(receiver.spans)
    assert {span.attributes["aorch.capability"] for span in receiver.spans} == {"echo"}

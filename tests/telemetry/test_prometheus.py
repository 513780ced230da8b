"""A real Prometheus and its promtool (Debian's package prometheus, which `.ci/run` installs) accept what aorch exports."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from api import ask
from homes import Home
from ports import free_port
from scrapes import OPENMETRICS
from serving import Server, serving
from tokens import token
from waiting import wait_for

from aorch.telemetry.metric_list import METRICS

DOCS = Path(__file__).parents[2] / "docs/metrics"
pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(
        not (shutil.which("prometheus") and shutil.which("promtool")),
        reason="needs Debian's package prometheus, which .ci/run installs",
    ),
]
AGENTS = """
[agents.'odd "name"']
command = ["false"]
capabilities.'odd \\ capability'.description = "Fails"
"""


def promtool(*arguments: str | Path, stdin: str | None = None) -> str:
    """What promtool prints; fails if it finds a fault."""
    done = subprocess.run(["promtool", *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def scraped(server: Server, home: Home, secret: str) -> Iterator[httpx.Client]:
    """A Prometheus that scrapes that server with the configuration of docs/, every second."""
    file = home.write("token", secret)
    text = (DOCS / "prometheus.yml").read_text().replace("127.0.0.1:8888", server.url.removeprefix("http://"))
    text = text.replace("scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s")
    with_token = f"authorization: {{credentials_file: {file}}}"
    text = text.replace("# authorization: {credentials_file: /etc/prometheus/aorch-token}", with_token)
    home.write("prometheus.yml", text)
    shutil.copy(DOCS / "alerts.yml", home.folder)
    address = f"127.0.0.1:{free_port()}"
    with (home.folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address={address}"],
            cwd=home.folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def query(prometheus: httpx.Client, expression: str) -> list[dict[str, Any]]:
    """The result of a query; empty while Prometheus does not answer yet."""
    try:
        answer = prometheus.get("/api/v1/query", params={"query": expression})
    except httpx.TransportError:
        return []
    if answer.status_code == 503:  # it starts
        return []
    found = answer.json()
    assert found["status"] == "success", found
    result: list[dict[str, Any]] = found["data"]["result"]
    return result


def test_promtool_finds_no_fault_in_the_metrics(home: Home) -> None:
    home.write("aorch.toml", AGENTS)
    with serving(home) as server:
        ask(server)
        ask(server, "odd \\ capability")
        home.aorch("run", "echo", "text=hi", "--detach")
        printed = promtool("check", "metrics", stdin=server.get("/metrics").text)
    assert printed == ""


def test_promtool_accepts_the_files_of_the_documentation() -> None:
    assert "6 rules found" in promtool("check", "rules", DOCS / "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", DOCS / "alerts_test.yml")
    assert "SUCCESS" in promtool("check", "config", DOCS / "prometheus.yml")


def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    texts = [text.replace("$__rate_interval", "5m").replace("$capability", ".*") for text in queries]
    rules = [{"record": f"query:{number}", "expr": text} for number, text in enumerate(texts)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", tmp_path / "rules.yml")


def test_prometheus_scrapes_a_server_with_a_token_and_answers_the_queries_of_the_dashboard(home: Home) -> None:
    home.write("aorch.toml", AGENTS)
    secret = token(home, "prometheus", "--scope", "read")
    with serving(home, "--workers", "2") as server, scraped(server, home, secret) as prometheus:
        for _ in range(3):
            home.aorch("run", "echo", "text=hi")
        home.aorch("run", "odd \\ capability")
        total = 'aorch_exchanges_total{capability="echo"}'
        wait_for(lambda: [each["value"][1] for each in query(prometheus, total)] == ["3"], 60)
        (odd,) = query(prometheus, 'aorch_exchanges_total{status="failed"}')
        assert (odd["metric"]["agent"], odd["metric"]["capability"]) == ('odd "name"', "odd \\ capability")
        assert query(prometheus, 'up{job="aorch"}')[0]["value"][1] == "1"
        known = prometheus.get("/api/v1/targets/metadata").json()["data"]
        types = {each["metric"].removesuffix("_total"): each["type"] for each in known}
        assert {metric.name: metric.kind for metric in METRICS}.items() <= types.items()
        rules = wait_for(lambda: prometheus.get("/api/v1/rules").json()["data"]["groups"])
        assert {rule["health"] for rule in rules[0]["rules"]} <= {"ok", "unknown"}


def test_openmetrics_is_what_prometheus_asks_for(home: Home) -> None:
    """Its own header, from its source (scrape.go)."""
    accept = f"{OPENMETRICS},application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    with serving(home) as server:
        answer = server.get("/metrics", headers={"Accept": accept})
    assert re.match("application/openmetrics-text; version=1.0.0; charset=utf-8", answer.headers["Content-Type"])
    assert answer.text.endswith("# EOF\n")

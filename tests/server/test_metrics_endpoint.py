"""`GET /metrics` of a server: for whom, in which format, and the same from each process of a ledger."""

from api import ask, problem
from homes import Home
from scrapes import OPENMETRICS, Samples, samples, scrape, value
from serving import Server, serving
from tokens import bearer, token
from waiting import wait_for

BY_EXAMPLE = {"capability": "echo", "agent": "agent_example_001", "status": "completed"}


def from_every_process(server: Server, count: int) -> list[Samples]:
    """A scrape over many connections, so that each process of the server answers some."""
    return [scrape(server.get_by_new_connection("/metrics")) for _ in range(count)]


def steady(found: Samples) -> Samples:
    """Without what changes by itself: the age of the queue, and the commits of background loops."""
    return {
        key: number
        for key, number in found.items()
        if not key[0].startswith(("aorch_queue_oldest", "aorch_ledger_commit"))
    }


def test_tasks_of_the_server_and_of_commands_count_in_prometheus_text_and_in_openmetrics(home: Home) -> None:
    home.aorch("run", "echo", "text=hi")
    with serving(home) as server:
        ask(server)
        home.aorch("run", "echo", "text=hi")
        ask(server, "fail")
        found = scrape(server.get("/metrics"))
        other = server.get("/metrics", headers={"Accept": OPENMETRICS})
        assert server.client.head("/metrics").status_code == 200
    assert other.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert other.text.endswith("# EOF\n")
    assert steady(samples(other.text, openmetrics=True)) == steady(found)
    assert value(found, "aorch_exchanges_total", **BY_EXAMPLE) == 3
    assert value(found, "aorch_exchanges_total", capability="fail", agent="broken", status="failed") == 1
    assert value(found, "aorch_attempts_total", agent="broken", outcome="agent_failed") == 1
    assert value(found, "aorch_agent_up", agent="absent") == 0
    assert (value(found, "aorch_ledger_commit_duration_seconds_count", process="serve-1") or 0) >= 4


def test_each_process_of_a_server_says_the_same_and_no_total_falls_after_a_kill(home: Home) -> None:
    with serving(home, "--workers", "2") as server:
        for _ in range(3):
            ask(server)
        home.aorch("run", "echo", "text=hi")
        found = from_every_process(server, 6)
        assert all(steady(each) == steady(found[0]) for each in found)
        processes = {
            dict(labels)["process"] for name, labels in found[0] if name.endswith("commit_duration_seconds_sum")
        }
        assert processes == {"serve-1", "serve-2"}
        server.kill()
    home.aorch("run", "echo", "text=hi")
    with serving(home) as server:
        wait_for(lambda: server.get("/metrics").status_code == 200)
        again = scrape(server.get("/metrics"))
    assert value(again, "aorch_exchanges_total", **BY_EXAMPLE) == 5
    for (name, labels), number in found[0].items():
        if name.endswith(("_total", "_bucket", "_count", "_sum")) and ("process", "serve-2") not in labels:
            assert again[name, labels] >= number, name


def test_metrics_need_a_token_with_the_scope_read_if_there_are_tokens(home: Home) -> None:
    reading, running = token(home, "prometheus", "--scope", "read"), token(home, "app", "--scope", "run")
    with serving(home) as server:
        problem(server.get("/metrics"), 401, "not_authorised")
        problem(server.get("/metrics", headers=bearer(running)), 403, "forbidden")
        scrape(server.get("/metrics", headers=bearer(reading)))


def test_the_scope_of_metrics_is_configured_in_aorch_toml(own_home: Home) -> None:
    token(own_home, "app")
    own_home.write("aorch.toml", '[metrics]\nscope = "none"\n')
    with serving(own_home) as server:
        scrape(server.get("/metrics"))
    own_home.write("aorch.toml", '[metrics]\nscope = "everyone"\n')
    refused = own_home.aorch("serve", "--port", "0")
    assert refused.code == 2
    assert "metrics.scope" in refused.err

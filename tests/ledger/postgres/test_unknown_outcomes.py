"""No server tells for two minutes whether a commit succeeded: nothing is lost, nothing happens twice, and aorch says so."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import IO, Any

import pytest
from cut_commits import Cutting, cutting
from homes import Home
from postgres_servers import Cluster
from queueing import detach, end
from serving import serving
from waiting import wait_for

from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.postgres.connection import LOOK_UP_S, connection_to

pytestmark = pytest.mark.torture

AGENT = """
[agents.{agent}]
command = ["sh", "-c", "echo x >> {folder}/did-$0; echo answer-$0", "{{name}}"]
[agents.{agent}.capabilities.{capability}.parameters]
name = "string"
"""
PATIENCE_S = LOOK_UP_S + 60.0


class Machine:
    """A machine with one agent, whose connection to the server is cut after the COMMIT of the first transaction that contains
    `marker`. From then on it cannot reach the server until `restore`.
    """

    def __init__(self, home: Home, behind: PostgresUrl, cut: Cutting, marker: str, agent: str, capability: str) -> None:
        folder = home.folder / marker
        folder.mkdir()
        self.home = replace(home, folder=folder, environment={**home.environment, "AORCH_LEDGER": str(behind)})
        text = AGENT.format(agent=agent, capability=capability, folder=home.folder)
        self.home.write("aorch.toml", f"[queue]\nparallel = 0\n{text}")
        cut.marker = marker.encode()
        cut.cuts.append("after")
        self._cut = cut

    def is_cut(self) -> bool:
        return self._cut.is_down

    def restore(self) -> None:
        self._cut.is_down = False


class Trial:
    """Machines on one ledger, and what another program reads there."""

    def __init__(self, home: Home, cluster: Cluster, url: PostgresUrl, stack: ExitStack) -> None:
        self.home, self._cluster, self._url, self._stack = home, cluster, url, stack

    def machine(self, marker: str, agent: str = "noter", capability: str = "note") -> Machine:
        cut, behind = self._stack.enter_context(cutting(self._cluster, self._url, then_down=True))
        return Machine(self.home, behind, cut, marker, agent, capability)

    def exchanges(self, name: str) -> list[tuple[str, str | None]]:
        """The status of each REQUEST with that parameter, and the `code` of its RESPONSE, or its status."""
        query = (
            "SELECT q.status, coalesce(r.metadata::json ->> 'code', r.status) FROM contracts q LEFT JOIN contracts r"
            " ON r.request_id = q.contract_id WHERE q.contract_type = 'REQUEST' AND q.payload = %s"
        )
        with closing(connection_to(self._url)) as connection:
            return list(connection.execute(query, (f'{{"name":"{name}"}}',)).fetchall())

    def calls(self, name: str) -> int:
        """How often an agent was called with that parameter."""
        path = self.home.folder / f"did-{name}"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def trial(home: Home, cluster: Cluster, postgres: PostgresUrl) -> Iterator[Trial]:
    home.environment["AORCH_LEDGER"] = str(postgres)
    home.write("aorch.toml", AGENT.format(agent="noter", capability="note", folder=home.folder))
    assert home.aorch("run", "echo", "text=first").code == 0
    with ExitStack() as stack:
        yield Trial(home, cluster, postgres, stack)


def read_until(stream: IO[bytes], text: bytes) -> None:
    """Read lines up to one that contains `text`."""
    while text not in (line := stream.readline()):
        assert line, f"it ended without {text!r}"


def body(name: str) -> dict[str, Any]:
    return {"capability": "note", "session_id": "s", "parameters": {"name": name}}


def test_what_was_in_flight_is_settled_once_its_outcome_is_known(trial: Trial) -> None:
    """A worker's result, a claim, a POST, a queued task and a line of a batch."""
    reporter, claimer = trial.machine("answer-reported"), trial.machine("claimer", "claimer", "claim")
    caller, queuer, runner = (trial.machine(marker) for marker in ("posted", "queued", "line-2"))
    workers = [each.home.start("worker") for each in (reporter, claimer)]
    with ThreadPoolExecutor() as threads, serving(caller.home) as calls, serving(queuer.home) as queues:
        detach(reporter.home, "note", "name=reported")
        claimed = replace(trial.home, folder=claimer.home.folder)
        detach(claimed, "claim", "name=claimed")
        wait_for(lambda: reporter.is_cut() and claimer.is_cut())
        lines = "".join(f'{{"parameters": {{"name": "line-{number}"}}}}\n' for number in (1, 2, 3))
        for each in (runner.home, trial.home):
            each.write("lines.jsonl", lines)
        batch = runner.home.start("run", "note", "--batch", "lines.jsonl", "--batch-name", "b", "--parallel", "1")
        wait_for(runner.is_cut)
        posted = threads.submit(calls.post, "/v1/orchestrate", json=body("posted"), timeout=PATIENCE_S)
        queued = threads.submit(queues.post, "/v1/tasks", json=body("queued"), timeout=PATIENCE_S)
        machines = (reporter, claimer, caller, queuer, runner)
        wait_for(lambda: all(each.is_cut() for each in machines))
        names = ("reported", "claimed", "posted", "queued", "line-2")
        assert {name: trial.exchanges(name) for name in names} == {
            "reported": [("completed", "completed")],
            "claimed": [("in_progress", None)],
            "posted": [("in_progress", None)],
            "queued": [("pending", None)],
            "line-2": [("in_progress", None)],
        }
        assert [trial.calls(name) for name in names] == [1, 0, 0, 0, 0]

        for answer in (posted.result(), queued.result()):
            assert (answer.status_code, answer.json()["code"]) == (500, "ledger_outcome_unknown")
        threads.submit(read_until, batch.stderr, b"1 result is not in the ledger yet").result(PATIENCE_S)
        for each in machines:
            each.restore()
        said = batch.communicate(timeout=PATIENCE_S)[1].decode()
        assert (batch.returncode, "unknown whether it was written" in said) == (14, True), said
        wait_for(lambda: trial.exchanges("posted") == [("failed", "ledger_outcome_unknown")], PATIENCE_S)
        for name in ("claimed", "queued"):
            wait_for(lambda name=name: trial.exchanges(name) == [("completed", "completed")], PATIENCE_S)
        for worker in workers:
            code, err = end(worker)
            assert code == 0, err
    resumed = trial.home.aorch("run", "note", "--batch", "lines.jsonl", "--batch-name", "b", "--resume")
    assert resumed.code == 0, resumed
    assert trial.exchanges("reported") == [("completed", "completed")]
    assert [trial.calls(name) for name in names] == [1, 1, 0, 1, 1]
    assert [trial.calls(f"line-{number}") for number in (1, 3)] == [1, 1]

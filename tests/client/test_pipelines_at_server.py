"""A pipeline runs at `aorch worker --server` exactly as at a worker that has the ledger: each test compares both."""

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pipes import AGENTS
from pprint import pformat
from typing import Any

from homes import Home
from queueing import besides_log, detach
from refusing_proxy import refusing
from remote_homes import with_client
from serving import START_S, Server, serving
from tokens import token
from waiting import wait_for

from aorch import jsonio

STEPS = """
[pipelines.inner]
steps = [{name = "shout", capability = "say", parameters = {text = "{input.text}!"}}]

[pipelines.all]
steps = [
  {name = "one", capability = "say", parameters = {text = "one"}},
  {name = "each", capability = "count", for_each = ["a", "c"], parallel = 2, parameters = {name = "{item}"}},
  {name = "within", capability = "inner", parameters = {text = "{steps.one.data.text}"}},
  {name = "fails", capability = "fail", on_error = "keep"},
  {name = "nobody", capability = "absent", on_error = "keep"},
  {name = "wrong", capability = "typed", parameters = {number = "x"}, on_error = "keep"},
  {name = "itself", capability = "all", on_error = "keep"},
  {name = "last", capability = "give", parameters = {json = "{steps.fails.error}"}, needs = ["each"]},
]
result = "{steps.each.data}"

[pipelines.failing]
steps = [{name = "one", capability = "say", parameters = {text = "1"}}, {name = "two", capability = "fail", needs = ["one"]}]

[pipelines.later]
steps = [{name = "one", capability = "say", parameters = {text = "1"}}, {name = "two", capability = "wait", needs = ["one"]}]

[pipelines.again]
idempotent = true

[[pipelines.again.steps]]
name = "one"
capability = "say"
parameters = {text = "one"}

[[pipelines.again.steps]]
name = "each"
capability = "count"
for_each = ["a", "b", "c"]
parallel = 1
parameters = {name = "{item}"}
needs = ["one"]

[agents.wait]
command = ["sh", "-c", "test -e go && echo went"]
capabilities.wait.description = "Fails until there is a file called go"

[agents.typed]
command = ["true"]
capabilities.typed.parameters = {number = "integer"}
"""


@dataclass
class Place:
    """A machine with these agents and pipelines, and how its tasks are queued."""

    machine: Home
    queue: Callable[[str], str]

    def start(self, *arguments: str) -> Any:
        return self.machine.start("worker", "--grace", "0.1", *arguments)

    def done(self) -> dict[str, int]:
        """How often the agent `count` was called for each name."""
        files = self.machine.folder.glob("did-*")
        return {each.name: len(each.read_text().splitlines()) for each in files}


def detach_in_session(machine: Home, name: str) -> str:
    return detach(machine, name, "--session", "s")


@contextmanager
def place_of(home: Home, kind: str) -> Iterator[Place]:
    """A machine that has the ledger of `home`, or only the URL of a server of it."""
    home.write("aorch.toml", "[queue]\nparallel = 0\n")
    if kind == "ledger":
        machine = replace(home, folder=home.folder / "here")
        machine.folder.mkdir()
        machine.write("aorch.toml", AGENTS + STEPS)
        yield Place(machine, partial(detach_in_session, machine))
        return
    with serving(home) as server:
        machine = with_client(home, server.url)
        machine.write("aorch.toml", "[queue]\nlease_s = 1\n" + AGENTS + STEPS)

        def queue(name: str) -> str:
            body = {"capability": name, "session_id": "s"}
            answer = wait_for(lambda: (sent := server.post("/v1/tasks", json=body)).status_code == 202 and sent)
            return str(answer.json()["contract_id"])

        yield Place(machine, queue)


def _known(metadata: str | None) -> dict[str, Any]:
    """What of the metadata of a contract does not differ from run to run."""
    found = jsonio.decode(metadata or "{}")
    if "reused" in found:
        found["reused"] = len(found["reused"])
    found["resumes"] = "resumes" in found
    return {
        name: value for name, value in found.items() if name not in ("duration_ms", "queue", "request_id", "caller")
    }


_ID = re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b")
_LOST = re.compile("the (process that ran this ended|worker that ran this lost the connection to the server)")


def tree(home: Home, request_id: str) -> Any:
    """All that the ledger says of a task and of those below it, without ids and times."""
    query = (
        "SELECT q.capability, q.from_agent, q.to_agent, q.payload, q.status, q.session_id, q.claimed_by, r.status, r.from_agent,"
        " r.to_agent, r.result, r.error, q.metadata, r.metadata FROM contracts q"
        " LEFT JOIN contracts r ON r.request_id = q.contract_id WHERE q.contract_id = ?"
    )
    ((*texts, asked, answered),) = home.rows(query, request_id)
    below = home.rows("SELECT contract_id FROM contracts WHERE parent_id = ? AND contract_type = 'REQUEST'", request_id)
    children = sorted((tree(home, each) for (each,) in below), key=repr)
    return [_LOST.sub("lost", _ID.sub("ID", str(each))) for each in texts], _known(asked), _known(answered), children


def ended(home: Home, request_id: str) -> str:
    """The status of that REQUEST, once it has ended."""
    query = "SELECT status FROM contracts WHERE contract_id = ? AND completed_at IS NOT NULL"
    return str(wait_for(lambda: home.rows(query, request_id))[0][0])


def end(worker: Any, number: int = signal.SIGTERM) -> str:
    worker.send_signal(number)
    return besides_log(worker.communicate(timeout=START_S)[1].decode())


def same(home: Home, act: Callable[[Place], tuple[str, str]]) -> Any:
    """The tree of the task of `act`, which is equal in both places. Its status is the one that `act` returns."""
    found = []
    for kind in ("ledger", "server"):
        with place_of(home, kind) as place:
            request_id, status = act(place)
            assert ended(home, request_id) == status
            found.append((tree(home, request_id), place.done()))
    assert pformat(found[1], width=200) == pformat(found[0], width=200)
    return found[0][0]


def test_it_records_the_same_of_every_kind_of_step(home: Home) -> None:
    def act(place: Place) -> tuple[str, str]:
        worker = place.start("--parallel", "1")
        request_id = place.queue("all")
        ended(home, request_id)
        assert end(worker) == ""
        return request_id, "completed"

    _, _, _, children = same(home, act)
    assert len(children) == 9


def test_a_step_that_fails_ends_it_with_the_same_error(home: Home) -> None:
    def act(place: Place) -> tuple[str, str]:
        worker = place.start()
        request_id = place.queue("failing")
        ended(home, request_id)
        assert end(worker) == ""
        return request_id, "failed"

    texts, _, _, _ = same(home, act)
    assert "step two" in texts[11]


def test_a_second_attempt_uses_the_results_of_a_worker_that_was_killed(home: Home) -> None:
    def act(place: Place) -> tuple[str, str]:
        worker = place.start()
        request_id = place.queue("again")
        wait_for((place.machine.folder / "did-b").exists)
        worker.kill()
        worker.communicate(timeout=START_S)
        (place.machine.folder / "go").touch()
        second = place.start()
        ended(home, request_id)
        assert end(second) == ""
        assert place.done() == {"did-a": 1, "did-b": 2, "did-c": 1}
        return request_id, "completed"

    _, _, answered, children = same(home, act)
    assert answered["reused"] == 2
    assert [each[0][4] for each in children].count("failed") == 1


def test_a_cancellation_ends_its_steps(home: Home) -> None:
    def act(place: Place) -> tuple[str, str]:
        worker = place.start()
        request_id = place.queue("again")
        wait_for((place.machine.folder / "did-b").exists)
        assert home.aorch("contracts", "cancel", request_id).code == 0
        ended(home, request_id)
        assert end(worker) == ""
        return request_id, "cancelled"

    same(home, act)


def test_a_worker_that_stops_leaves_it_to_the_next_one(home: Home) -> None:
    def act(place: Place) -> tuple[str, str]:
        worker = place.start()
        request_id = place.queue("again")
        wait_for((place.machine.folder / "did-b").exists)
        assert end(worker) == ""
        (place.machine.folder / "go").touch()
        second = place.start()
        ended(home, request_id)
        assert end(second) == ""
        return request_id, "completed"

    same(home, act)


def test_a_client_resumes_and_reruns_what_only_a_worker_has_and_is_told_how_to_run_it(home: Home) -> None:
    with place_of(home, "server") as place:
        worker = place.start()
        request_id = place.queue("later")
        assert ended(home, request_id) == "failed"
        (place.machine.folder / "go").touch()
        client = with_client(home, place.machine.environment["AORCH_URL"], name="other")
        resumed, rerun = client.aorch("contracts", "resume", request_id), client.aorch("rerun", request_id)
        refused = client.aorch("run", "later")
        assert end(worker) == ""
    assert (resumed.code, resumed.out, rerun.code, rerun.out) == (0, "went\n", 0, "went\n")
    steps = "SELECT count(*) FROM contracts WHERE contract_type = 'REQUEST' AND capability = ?"
    assert [home.rows(steps, name) for name in ("say", "wait")] == [[(2,)], [(3,)]], (
        "the resumption did not use step one again"
    )
    assert refused.code == 11
    assert "Only workers of the server have it: queue the task with --detach." in refused.err


async def test_requests_about_steps_are_repeated_while_a_server_cannot_be_reached(home: Home) -> None:
    home.write("aorch.toml", "[queue]\nparallel = 0\n")
    failures: Counter[str] = Counter()

    def refusal(path: str, _: int) -> tuple[int, str] | None:
        kind = path.rpartition("/")[2]
        failures[kind] += kind in ("steps", "result")
        return (502, "bad gateway") if 0 < failures[kind] < 3 else None

    with serving(home) as server:
        async with refusing(server.url, refusal) as url:
            await asyncio.to_thread(_complete, home, server, url)
    assert min(failures["steps"], failures["result"]) > 3


def _complete(home: Home, server: Server, url: str) -> None:
    machine = with_client(home, url)
    machine.write("aorch.toml", AGENTS + STEPS)
    (machine.folder / "go").touch()
    worker = machine.start("worker")
    body = {"capability": "again", "session_id": "s"}
    sent = wait_for(lambda: (sent := server.post("/v1/tasks", json=body)).status_code == 202 and sent)
    assert ended(home, sent.json()["contract_id"]) == "completed"
    assert end(worker) == ""
    assert home.rows("SELECT count(*), count(DISTINCT request_id) FROM contracts WHERE capability = 'count'") == [
        (6, 3)
    ]
    assert Place(machine, str).done() == {"did-a": 1, "did-b": 1, "did-c": 1}


def test_a_token_that_does_not_allow_the_steps_of_a_pipeline_does_not_offer_it(home: Home) -> None:
    limited = token(home, "limited", "--scope", "work", "--capability", "again", "--capability", "say")
    with serving(home) as server:
        machine = with_client(home, server.url, AORCH_TOKEN=limited)
        machine.write("aorch.toml", AGENTS + STEPS)
        done = machine.aorch("worker", "--drain")
    assert "pipeline again is not offered: the token does not allow its steps (count)" in done.err

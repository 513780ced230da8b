"""Tasks run again at a server, as on a ledger file: pipelines are resumed, failed tasks retried, batches continued."""

import json
import signal
from collections.abc import Iterator
from pipes import pipeline_home

import pytest
from batches import lines, results, task, with_witness
from homes import Home, Result
from remote_homes import seen, with_client
from serving import serving
from waiting import WAIT_S, wait_for

STEPS = (
    '{name = "first", capability = "give", parameters = {json = 1}}',
    '{name = "second", capability = "work", parameters = {}}',
)
WORK = """
[agents.work]
command = ["sh", "-c", "test -e fixed && echo done"]
capabilities.work = {}
"""


@pytest.fixture
def failing(home: Home) -> Iterator[tuple[Home, Home]]:
    """A home whose agent fails until a file called `fixed` exists, and a machine that uses its server."""
    pipeline_home(home, *STEPS)
    with (home.folder / "aorch.toml").open("a") as file:
        file.write(WORK)
    with serving(home) as server:
        yield home, with_client(home, server.url)


def failed(home: Home, session: str, capability: str) -> str:
    """The ID of the REQUEST of a failed task."""
    home.aorch("run", capability, "-s", session)
    return newest(home, session, capability)


def newest(home: Home, session: str, capability: str) -> str:
    """The ID of the newest REQUEST."""
    command = ("contracts", "list", "-s", session, "--capability", capability, "--type", "request", "-n", "1")
    return home.aorch(*command).out.split("\t")[0]


def same(there: Result, here: Result) -> bool:
    """Whether a command printed the same for the session `there` as another one for the session `here`."""
    code, out, err = seen(here)
    return seen(there) == (
        code,
        out.replace('"here"', '"there"').replace(" here", " there"),
        err.replace(" here", " there"),
    )


def test_a_pipeline_is_resumed_on_a_server_as_on_a_file(failing: tuple[Home, Home]) -> None:
    file, client = failing
    here, there = failed(file, "here", "p"), failed(file, "there", "p")
    assert same(client.aorch("contracts", "resume", there), file.aorch("contracts", "resume", here))
    file.write("fixed", "")
    last = [newest(file, session, "p") for session in ("here", "there")]
    done = client.aorch("contracts", "resume", last[1])
    assert done.code == 0
    (metadata,) = file.rows("SELECT metadata FROM contracts WHERE request_id = ?", newest(file, "there", "p"))
    assert len(json.loads(metadata[0])["reused"]) == 1
    assert same(done, file.aorch("contracts", "resume", last[0]))
    for part, other in ((there, here), (last[1], last[0]), ("nope", "nope")):
        again = client.aorch("contracts", "resume", part)
        assert again.code in (12, 13)
        assert same(again, file.aorch("contracts", "resume", other))


def test_a_task_that_is_no_pipeline_runs_again_with_a_warning(failing: tuple[Home, Home]) -> None:
    file, client = failing
    here, there = failed(file, "here", "work"), failed(file, "there", "work")
    file.write("fixed", "")
    done = client.aorch("contracts", "resume", there, "--json")
    assert "may now do the same work twice" in done.err
    assert same(done, file.aorch("contracts", "resume", here, "--json"))


def test_failed_tasks_of_a_session_are_retried_on_a_server_as_on_a_file(failing: tuple[Home, Home]) -> None:
    file, client = failing
    for session in ("here", "there"):
        for capability in ("work", "fail", "echo"):
            file.aorch("run", capability, "-s", session, "text=hi")
    for fixed in (False, True):
        if fixed:
            file.write("fixed", "")
        here = file.aorch("run", "--retry-failed", "here", "--ordered")
        there = client.aorch("run", "--retry-failed", "there", "--ordered")
        assert same(there, here)
        assert len(results(there)) == 2
    assert len(results(client.aorch("run", "--retry-failed", "there"))) == 1
    file.aorch("run", "echo", "text=hi", "-s", "fine")
    for session in ("fine", "none"):
        command = ("run", "--retry-failed", session)
        assert seen(client.aorch(*command)) == seen(file.aorch(*command))


def seen_by_agents(home: Home) -> list[str]:
    """The lines that agents were given, sorted: two run at once."""
    file = home.folder / "seen"
    return sorted(file.read_text().split()) if file.exists() else []


def test_a_batch_continues_on_another_machine_with_another_token(home: Home) -> None:
    """A killed batch: finished lines have their answers, lines that were cut off run again only if that is safe."""
    with_witness(home)
    batch = lines(task(1), task(2, "again", wait="go"), task(3, wait="go"), task(4))
    tokens = [home.aorch("tokens", "create", name).out.strip() for name in ("one", "two")]
    with serving(home) as server:
        first = with_client(home, server.url, AORCH_TOKEN=tokens[0])
        second = with_client(home, server.url, name="other", AORCH_TOKEN=tokens[1])
        for each in (first, second):
            each.write("tasks.jsonl", batch)
        command = ("run", "--batch", "tasks.jsonl", "--batch-name", "nightly", "--parallel", "2")
        running = first.start(*command)
        wait_for(lambda: seen_by_agents(home) == ["1", "2", "3"])
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=WAIT_S * 4)
        home.write("go", "")
        done = second.aorch(*command, "--resume", "--ordered")
    found = results(done)
    assert [each["success"] for each in found] == [True, True, False, True]
    assert "2 from an earlier run" in done.err
    assert seen_by_agents(home) == ["1", "2", "2", "3", "4"]
    (retried,) = home.rows(
        "SELECT metadata FROM contracts WHERE payload LIKE '{\"n\":2,%' AND metadata LIKE '%retry_of%'"
    )
    assert json.loads(retried[0])["line"] == 2


def test_a_batch_without_a_name_belongs_to_its_machine(home: Home) -> None:
    with serving(home) as server:
        client = with_client(home, server.url)
        client.write("tasks.jsonl", '{"capability": "echo", "parameters": {"text": "a"}, "id": "x", "priority": 2}\n')
        never = client.aorch("run", "--batch", "tasks.jsonl", "--resume")
        assert (never.code, "Run the command without --resume" in never.err) == (12, True)
        assert client.aorch("run", "--batch", "tasks.jsonl").code == 0
        assert "1 from an earlier run" in client.aorch("run", "--batch", "tasks.jsonl", "--resume").err
    ((metadata,),) = home.rows("SELECT metadata FROM contracts WHERE contract_type = 'REQUEST'")
    assert {name: json.loads(metadata)[name] for name in ("line", "priority")} == {"line": "x", "priority": 2}

"""Every fenced block of README.md and docs/ that is no command: it runs, it loads, or it is marked as `text`, which is output.

Those of `console` run in test_docs_run.py. A block of another kind than those here fails.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from doubles import running
from homes import Home
from memory_homes import take_in
from memory_sessions import review
from otlp_double import OtlpDouble
from serving import serving
from trace_double import doubling

from aorch.worker.webhooks import signed

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
PROGRAM = str(Path(sys.executable).with_name("aorch"))
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ALL = [(page, kind, block) for page in PAGES for kind, block in FENCE.findall(page.read_text())]
ELSEWHERE = {
    "console": "test_docs_run.py",
    "text": "output",
    "json": "output",
    "sh": "test_writing_agents.py",
    "javascript": "test_writing_agents.py",
}
PRINTED = {
    "README.md": r"Hello, Ann! 01\w{24}\nHello, Bob! 01\w{24}\n",
    "batches.md": r"\{'text': 'hi'\} \{'message': 'Echo: hi'\}\n",
    "pipelines.md": "Echo: HI!\n",
    "python.md": r"\{'text': 'Hello, Ann!'\}\n",
}
"""What the Python of a page prints; of others nothing."""
TYPED = """
import ast, asyncio, inspect, sys
from aorch import Orchestrator

async def read():
    names = {"Orchestrator": Orchestrator, "words": ["hi"], "__name__": "page"}
    async with Orchestrator() as names["orchestrator"]:
        await names["orchestrator"].orchestrate("incident-4711", {"capability": "echo", "parameters": {"text": "hi"}})
        coroutine = eval(compile(sys.argv[1], "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if coroutine is not None:
            await coroutine
    return names

own_loop = "asyncio.run(main())" in sys.argv[1]
names = {"__name__": "__main__"}
exec(sys.argv[1], names) if own_loop else names.update(asyncio.run(read()))
if not own_loop and "main" in names:
    asyncio.run(names["main"]())
"""
"""Runs the Python of a page as it stands: with `await` outside of a function, as in a notebook, if that is how it is."""
MY_AGENTS = """
from aorch.agents.example import ExampleAgent


class MyAgent(ExampleAgent):
    def __init__(self, model):
        assert model == "small"
        super().__init__()
        self.agent_id = "my_agent_001"
"""


def blocks(kind: str) -> list[tuple[Path, str]]:
    return [(page, block) for page, each, block in ALL if each == kind]


def pages(kind: str) -> pytest.MarkDecorator:
    """Once for each page that has blocks of that kind."""
    return pytest.mark.parametrize("page", sorted({page for page, _ in blocks(kind)}), ids=lambda page: page.name)


def of_page(page: Path, kind: str) -> list[str]:
    return [block for each, block in blocks(kind) if each == page]


def test_every_block_says_what_it_is_and_is_tried() -> None:
    """Also no fence is indented, or left open, where it would not be found."""
    tried = {*ELSEWHERE, "python", "toml", "sql", "crontab", "ini"}
    assert {(page.name, kind) for page, kind, _ in ALL if kind not in tried} == set()
    for page in PAGES:
        fences = re.findall(r"^\s*(?:```|~~~)", page.read_text(), re.MULTILINE)
        assert len(fences) == 2 * len([block for each, _, block in ALL if each == page]), page.name


@pages("python")
def test_the_python_of_a_page_runs(page: Path, home: Home) -> None:
    given = []
    for block in of_page(page, "python"):
        if name := re.match(r"# (\w+\.py)\n", block):
            home.write(name[1], block)
        else:
            given.append(block)
    done = subprocess.run(
        [sys.executable, "-c", TYPED, "\n".join(given)],
        cwd=home.folder, env=home.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(PRINTED.get(page.name, ""), done.stdout)


def test_the_check_of_a_webhook_accepts_what_aorch_signs_and_nothing_else() -> None:
    (block,) = of_page(ROOT / "docs/queue.md", "python")
    names: dict[str, Callable[..., bool]] = {}
    exec(block, names)
    headers = signed(b"key", "msg_1", 1_700_000_000, b'{"a":1}')
    assert names["is_genuine"]("whsec_a2V5", headers, b'{"a":1}')
    assert not names["is_genuine"]("whsec_a2V5", headers, b'{"a":2}')
    assert not names["is_genuine"]("whsec_AAAA", headers, b'{"a":1}')


@pytest.mark.parametrize(("page", "block"), blocks("toml"), ids=lambda each: getattr(each, "name", ""))
def test_a_table_of_a_page_is_accepted_and_makes_its_agents(page: Path, block: str, home: Home) -> None:
    (home.folder / "pictures").mkdir()
    home.write("my_agents.py", MY_AGENTS)
    home.write("aorch.toml", block)
    home.environment["HOOK_SECRET"] = "whsec_a2V5"
    listed = home.aorch("agents", "list", "--json")
    assert (listed.code, listed.err) == (0, "")
    tables = tomllib.loads(block)
    named = {*tables.get("agents", {}), *tables.get("pipelines", {})}
    assert named <= {each["agent_id"] for each in listed.json["agents"]}


@pages("sql")
def test_each_question_in_sql_has_an_answer(page: Path, home: Home) -> None:
    home.write(
        "aorch.toml", '[pipelines.p]\n[[pipelines.p.steps]]\nname="a"\ncapability="echo"\nparameters={text="hi"}\n'
    )
    assert home.aorch("run", "p", "--session", "nightly").code == 0
    assert home.aorch("run", "no-such-capability").code == 11
    ((parent,),) = home.rows("SELECT contract_id FROM contracts WHERE capability = 'p' AND contract_type = 'REQUEST'")
    questions = [question for block in of_page(page, "sql") for question in block.split(";") if question.strip()]
    answers = [home.rows(question.replace("01…", parent)) for question in questions]
    assert answers[0] == [("no-such-capability", None, home.rows("SELECT max(error) FROM contracts")[0][0])]
    assert sorted(name for name, *_ in answers[1]) == ["echo", "no-such-capability", "p"]
    assert answers[2:] in (
        [[("p",), ("  echo",)]],
        [[("p",), ("  echo",)], [(1, "REQUEST", "p", "completed"), (2, "REQUEST", "echo", "completed"),
                                 (3, "RESPONSE", "echo", "completed"), (4, "RESPONSE", "p", "completed")]],
    )  # fmt: skip


@pages("crontab")
def test_a_line_for_cron_does_its_work_in_cron_s_environment(page: Path, home: Home, tmp_path: Path) -> None:
    """That is without the PATH of a shell. What a worker prints has the form that the page shows."""
    (home.folder / ".local/bin").mkdir(parents=True)
    (home.folder / ".local/bin/aorch").symlink_to(PROGRAM)
    default = with_default_ledger(home)
    take_in(home, [{**contract, "created_at": "2020-01-01T00:00:00.000Z"} for contract in review()])
    home.aorch("run", "echo", "text=hi", "--detach")
    with doubling(tmp_path / "trace") as double, running(OtlpDouble()) as receiver:
        home.write("aorch.toml", f'{default}[otel]\nendpoint = "{receiver.url}"\n')
        for line in "".join(of_page(page, "crontab")).splitlines():
            command = re.sub(r"^(?:\S+ ){5} *", "", line).replace("/srv/project", str(home.folder))
            command = command.replace("/var/lib/aorch/ledger.db", shlex.quote(str(home.ledger)))
            command = command.replace("http://localhost:8787", double.url)
            done = subprocess.run(
                ["/bin/sh", "-c", command], cwd=home.folder, capture_output=True, text=True, timeout=60,
                env={"HOME": str(home.folder), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "ann"},
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (0, "")
            if "worker" in line:
                shown = "".join(of_page(page, "text"))
                assert form(done.stderr.splitlines()[0]) in {form(each) for each in shown.splitlines()}
            else:
                assert done.stderr == ""
            assert bool(double.events) == ("trace push" in line)
            assert bool(receiver.spans) == ("otel push" in line)
            assert home.rows("SELECT count(*) FROM memory_blocks") == [(int("compress" in line),)]


def with_default_ledger(home: Home) -> str:
    """Make its ledger the one that commands use without the environment; returns what aorch.toml must contain for that."""
    if home.database is not None:
        return f'ledger = "{home.database}"\n'
    (home.folder / ".local/share/aorch").mkdir(parents=True)
    (home.folder / ".local/share/aorch/ledger.db").symlink_to(home.ledger)
    return ""


def form(line: str) -> str:
    """A line of a log without what differs between two of them."""
    line = re.sub(r"(?<=Z )\w+(?= completed)", "CAPABILITY", line)
    return re.sub(r"session=\S+", "SESSION", re.sub(r"\b01\w+|[0-9][0-9:.TZ-]*", "N", line))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
@pages("ini")
def test_the_units_for_systemd_are_valid(page: Path, home: Home) -> None:
    names = re.findall(r"([\w-]+\.(?:service|timer))(?:`\n\n```ini\n|\n\[Unit)", page.read_text())
    units = of_page(page, "ini")
    assert len(names) == len(units) > 0
    for name, unit in zip(names, units, strict=True):
        home.write(name, re.sub(r"(?<=ExecStart=)\S+/aorch", PROGRAM, unit))
    done = subprocess.run(
        ["systemd-analyze", "verify", *names], cwd=home.folder, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_of_systemd_starts_with_the_token_file_and_logs_as_the_page_shows(home: Home) -> None:
    page = ROOT / "docs/serve.md"
    (unit,), (shown,) = of_page(page, "ini"), of_page(page, "json")
    (tokens,) = (block for block in of_page(page, "text") if "TOKEN" in block)
    (arguments,) = re.findall(r"ExecStart=\S+ serve (.*)", unit)
    home.write("tokens", re.sub(r"^(\w{4})…64 hex digits", lambda found: found[1] * 16, tokens, flags=re.MULTILINE))
    (home.folder / "tokens").chmod(0o600)
    task = {"session_id": "s", "capability": "echo", "parameters": {"text": "hi"}}
    with serving(home, *arguments.replace("%d", str(home.folder)).split()) as server:
        called = [
            server.post("/v1/orchestrate", json=task, headers={"Authorization": f"Bearer {token}"})
            for token in ("3f1c" * 16, "9e0b" * 16, "0000" * 16)
        ]
    assert [answer.status_code for answer in called] == [200, 200, 401]
    logged = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    assert [list(line) for line in logged if line.get("caller") == "dashboard"] == [list(json.loads(shown))]
    assert home.rows("SELECT DISTINCT from_agent FROM contracts WHERE from_agent = 'code_reviewer'") == [
        ("code_reviewer",)
    ]

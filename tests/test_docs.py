"""What the documentation says is what the code does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aorch

ROOT = Path(__file__).parent.parent


def test_the_generated_pages_are_what_the_code_says_now(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "docs/generate.py", tmp_path], check=True, timeout=60)
    for page in tmp_path.iterdir():
        assert page.read_text() == (ROOT / "docs" / page.name).read_text(), "run `uv run python docs/generate.py`"


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *ROOT.glob("*/*.md")]), ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_error_class_is_drawn_in_the_tree_with_its_facts() -> None:
    from aorch import errors

    drawn = dict(re.findall(r"(\w+)  +(\d+ +\d+)(?:  |\n)", f"{errors.__doc__}"))
    assert {name: tuple(map(int, facts.split())) for name, facts in drawn.items()} == {
        error.__name__: (error.exit_code, error.http_status) for error in errors.by_code().values()
    }


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    agent, program = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "aorch.toml").touch()
    (tmp_path / "my_agents.py").write_text(agent)
    environment = {**os.environ, "AORCH_LEDGER": str(tmp_path / "ledger.db")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert [line.split(" 01")[0] for line in done.stdout.splitlines()] == [
        "{'text': 'Hello, Ann!'}",
        "{'text': 'Hello, Bob!'}",
    ]


def test_the_python_of_the_python_page_runs(tmp_path: Path) -> None:
    program = "".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL))
    (tmp_path / "aorch.toml").touch()
    environment = {**os.environ, "AORCH_LEDGER": str(tmp_path / "ledger.db"), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("{'text': 'Hello, Ann!'}\n", "")


def test_the_python_page_names_every_public_method_of_an_orchestrator() -> None:
    page = (ROOT / "docs/python.md").read_text()
    methods = {name for name in vars(aorch.Orchestrator) if not name.startswith("_")} - {"exchanges", "queue"}
    assert [name for name in sorted(methods) if not re.search(rf"\b{name}\(", page)] == []


def test_the_pipelines_of_their_page_work(tmp_path: Path) -> None:
    page = (ROOT / "docs/pipelines.md").read_text()
    (table,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    counting = '[agents.wc]\ncommand = ["wc", "-w"]\nstdin = "{text}"\n[agents.wc.capabilities.count_words]\n'
    (tmp_path / "aorch.toml").write_text(counting + table)
    command = [
        sys.executable,
        "-m",
        "aorch",
        "run",
        "report",
        'texts:=["one text", "another one"]',
        "--ledger",
        "ledger.db",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.replace(" ", "") in page.replace(" ", "")
    program = f"import asyncio\n{program}\nasyncio.run(main())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "Echo: HI!\n"

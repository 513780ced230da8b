"""What the documentation says is what the code does."""

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
        assert page.read_text() == (ROOT / "docs" / page.name).read_text(), (
            "run `uv run --group test python docs/generate.py`"
        )


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md")]), ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_error_class_is_drawn_in_the_tree_with_its_facts() -> None:
    from aorch import errors

    drawn = dict(re.findall(r"(\w+)  +(\d+ +\d+)(?:  |\n)", f"{errors.__doc__}"))
    assert {name: tuple(map(int, facts.split())) for name, facts in drawn.items()} == {
        error.__name__: (error.exit_code, error.http_status) for error in errors.by_code().values()
    }


def test_the_python_page_names_every_public_method_of_an_orchestrator() -> None:
    page = (ROOT / "docs/python.md").read_text()
    methods = {name for name in vars(aorch.Orchestrator) if not name.startswith("_")} - {"executor", "queue"}
    assert [name for name in sorted(methods) if not re.search(rf"\b{name}\(", page)] == []


def test_the_pipeline_of_its_page_answers_as_shown_there(tmp_path: Path) -> None:
    page = (ROOT / "docs/pipelines.md").read_text()
    (table,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
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

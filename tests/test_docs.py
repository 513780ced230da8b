"""What the documentation says is what the code does."""

import re
from pathlib import Path

from generate import PAGES
from homes import Home

import aorch

ROOT = Path(__file__).parent.parent


def test_the_generated_pages_are_what_the_code_says_now() -> None:
    for name, page in PAGES.items():
        assert page() == (ROOT / "docs" / name).read_text(), "run `uv run --group test python docs/generate.py`"


def test_every_link_leads_to_a_file() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md")):
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


def test_the_pipeline_of_its_page_answers_as_shown_there(home: Home) -> None:
    page = (ROOT / "docs/pipelines.md").read_text()
    (table,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    counting = '[agents.wc]\ncommand = ["wc", "-w"]\nstdin = "{text}"\n[agents.wc.capabilities.count_words]\n'
    home.write("aorch.toml", counting + table)
    done = home.aorch("run", "report", 'texts:=["one text", "another one"]')
    assert (done.code, done.out.replace(" ", "") in page.replace(" ", "")) == (0, True)

"""The code analysis in `examples/`, run as a user runs it, on real source."""

import csv
import re
import sys
import tokenize
from pathlib import Path

import pytest
from examples_run import (
    assert_completed,
    contracts_in,
    example,
    exchanges_in,
    finished,
    results_in,
    run,
)

pytestmark = pytest.mark.torture  # the examples' own libraries, on real input

SMALL_PACKAGE = {
    "__init__.py": '"""A small package."""\n\nfrom small import work\nfrom . import work\n',
    "work.py": (
        "import os, subprocess\n"
        "import os.path\n\n\n"
        "class Worker:\n"
        '    """Works."""\n\n'
        "    async def go(self, line: str) -> int:\n"
        '        """Run a line."""\n'
        "        return subprocess.call(line, shell=True)\n\n"
        "    def _hidden(self): ...\n\n\n"
        "def idle(): ...\n"
    ),
}


@pytest.fixture(scope="module")
def analysed(clone):
    """The code analysis of aorch's own source: its process, and its session's contracts."""
    return finished(clone, "code_analysis.py")


@pytest.fixture
def small(tmp_path):
    """The folder of a package that is small enough to know everything about it."""
    folder = tmp_path / "small"
    folder.mkdir()
    for name, text in SMALL_PACKAGE.items():
        (folder / name).write_text(text)
    return folder


def test_the_code_analysis_leaves_a_completed_exchange_for_each_of_its_three_steps(analysed):
    assert (analysed["process"].returncode, analysed["process"].stderr) == (0, "")
    pairs = exchanges_in(analysed["ledger"])
    assert [request["capability"] for request, _ in pairs] == ["analyze_code", "security_scan", "generate_docs"]
    assert {request["from_agent"] for request, _ in pairs} == {"orchestrator"}
    assert_completed(pairs)


def test_the_code_analysis_prints_a_line_for_each_step_and_for_each_contract(analysed):
    lines = analysed["process"].stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["analyze_code", "security_scan", "generate_docs"]
    shown = [line.split()[0] for line in lines[5:]]
    assert shown == [contract["contract_id"] for contract in contracts_in(analysed["ledger"])]


def test_the_code_analysis_counts_modules_lines_and_functions_as_a_tokenizer_does(analysed):
    files = list((analysed["folder"] / "aorch").rglob("*.py"))
    functions = 0
    for file in files:
        with file.open("rb") as source:
            functions += sum(t.type == tokenize.NAME and t.string == "def" for t in tokenize.tokenize(source.readline))
    counted = results_in(analysed["ledger"])["analyze_code"]
    assert counted["modules"] == len(files)
    assert counted["lines"] == sum(file.read_bytes().count(b"\n") for file in files)
    assert counted["functions"] == functions > 100


def test_the_longest_functions_are_where_and_as_long_as_the_source_says(analysed):
    longest = results_in(analysed["ledger"])["analyze_code"]["longest_functions"]
    lengths = [function["lines"] for function in longest]
    assert len(lengths) == 5
    assert lengths == sorted(lengths, reverse=True)
    for function in longest:
        module, _, name = function["name"].rpartition(".")
        file = analysed["folder"] / f"{module.replace('.', '/')}.py"
        text = (file if file.is_file() else file.with_suffix("") / "__init__.py").read_text()
        assert function["lines"] in block_lengths(text, name)


def block_lengths(text: str, name: str) -> list[int]:
    """How many lines each function `name` takes, by indentation alone."""
    lengths = []
    for match in re.finditer(rf"^( *)(?:async )?def {name}\b", text, re.MULTILINE):
        block = text[match.start() :].splitlines()
        end = next(
            (n for n, line in enumerate(block[1:], 1) if re.match(rf" {{0,{len(match[1])}}}[^\s)]", line)), len(block)
        )
        lengths.append(len("\n".join(block[:end]).rstrip().splitlines()))
    return lengths


def test_a_small_package_is_measured_exactly(tmp_path, small):
    assert example(tmp_path, "code_analysis.py", "--source", small).returncode == 0
    measured = results_in(tmp_path / "code_analysis.py.db")["analyze_code"]
    assert measured == {
        "modules": 2,
        "lines": 19,
        "functions": 3,
        "longest_functions": [
            {"name": "small.work.go", "lines": 3},
            {"name": "small.work._hidden", "lines": 1},
            {"name": "small.work.idle", "lines": 1},
        ],
        "imports": {"os": 2, "small": 1, "subprocess": 1},
    }


def test_the_security_scan_finds_what_bandit_itself_finds(analysed):
    source = analysed["folder"] / "aorch"
    itself = run(analysed["folder"], sys.executable, "-m", "bandit", "-q", "-f", "csv", "-r", source)
    expected = {
        (row["filename"], int(row["line_number"]), row["test_id"]) for row in csv.DictReader(itself.stdout.splitlines())
    }
    scan = results_in(analysed["ledger"])["security_scan"]
    assert {(found["filename"], found["line_number"], found["test_id"]) for found in scan["results"]} == expected
    assert scan["errors"] == []
    assert scan["metrics"]["_totals"]["loc"] > 1000


def test_a_shell_that_takes_a_variable_is_found_at_its_line(tmp_path, small):
    process = example(tmp_path, "code_analysis.py", "--source", small)
    assert process.returncode == 0
    assert re.search(r"^security_scan .*1 high", process.stdout, re.MULTILINE)
    scan = results_in(tmp_path / "code_analysis.py.db")["security_scan"]
    high = [found for found in scan["results"] if found["issue_severity"] == "HIGH"]
    assert [(found["test_id"], found["line_number"]) for found in high] == [("B602", 10)]


def test_the_api_page_holds_every_module_and_the_docstrings_of_the_public_api(analysed):
    page = (analysed["folder"] / "out" / "api.md").read_text()
    files = list((analysed["folder"] / "aorch").rglob("*.py"))
    assert page.count("\n## `aorch") == len(files)
    assert "### `Orchestrator`\n\nCalls agents by capability and keeps every exchange in the ledger." in page
    assert Path(results_in(analysed["ledger"])["generate_docs"]["output"]).read_text() == page


def test_the_api_page_of_a_small_package_is_exactly_its_docstrings(tmp_path, small):
    assert example(tmp_path, "code_analysis.py", "--source", small).returncode == 0
    assert (tmp_path / "out" / "api.md").read_text().split("\n\n") == [
        "# small",
        "## `small`",
        "A small package.",
        "## `small.work`",
        "*Not documented.*",
        "### `Worker`",
        "Works.",
        "#### `go(self, line: str) -> int`",
        "Run a line.",
        "### `idle()`",
        "*Not documented.*\n",
    ]
    told = results_in(tmp_path / "code_analysis.py.db")["generate_docs"]
    assert told["undocumented"] == ["small.work", "small.work.idle"]


def test_source_that_is_not_python_fails_its_step_and_ends_the_pipeline(tmp_path, small):
    (small / "broken.py").write_text("def half(:\n")
    process = example(tmp_path, "code_analysis.py", "--source", small)
    assert process.returncode == 1
    assert process.stderr.startswith("analyze_code failed: SyntaxError")
    ((request, response),) = exchanges_in(tmp_path / "code_analysis.py.db")
    assert (request["capability"], request["status"], response["status"]) == ("analyze_code", "failed", "failed")
    assert "SyntaxError" in response["error"]


@pytest.mark.parametrize("name", ["code_analysis.py", "data_workflow.py"])
def test_a_ledger_that_cannot_be_one_ends_an_example_with_a_sentence_and_exit_code_14(tmp_path, name):
    (tmp_path / f"{name}.db").mkdir()
    process = example(tmp_path, name)
    assert process.returncode == 14
    assert "Traceback" not in process.stderr
    assert f"{name}.db for writing: it is a directory" in process.stderr.splitlines()[-1]

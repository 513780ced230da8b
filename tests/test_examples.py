"""The programs in `examples/`, run as a newcomer runs them, on real input."""

import asyncio
import csv
import json
import os
import re
import shlex
import shutil
import statistics
import struct
import subprocess
import sys
import tokenize
from collections import Counter
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from aorch import Orchestrator

pytestmark = pytest.mark.torture  # the examples' own libraries, on real input

REPOSITORY = Path(__file__).parents[1]
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


def raw_table() -> Path:
    """The table that the examples read, from the package palmerpenguins."""
    return Path(distribution("palmerpenguins").locate_file("palmerpenguins/data/penguins-raw.csv"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository's folders that the examples need: what they write lands there, and the source stands still."""
    root = tmp_path_factory.mktemp("clone")
    for folder in ("aorch", "examples"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="module")
def analysed(clone):
    """The code analysis of aorch's own source: its process, and its session's contracts."""
    return finished(clone, "code_analysis.py")


@pytest.fixture(scope="module")
def plotted(clone):
    """The data workflow on the penguins: its process, and its session's contracts."""
    return finished(clone, "data_workflow.py")


@pytest.fixture
def small(tmp_path):
    """The folder of a package that is small enough to know everything about it."""
    folder = tmp_path / "small"
    folder.mkdir()
    for name, text in SMALL_PACKAGE.items():
        (folder / name).write_text(text)
    return folder


def run(folder: Path, *words: str | Path, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    """A program with a HOME of its own and nothing of aorch in its environment; no environment is activated."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AORCH_", "VIRTUAL_ENV"))}
    home = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "configuration"),
    }
    return subprocess.run(
        words, cwd=folder, env={**kept, **home, "PATH": path}, capture_output=True, text=True, timeout=120, check=False
    )


def example(folder: Path, name: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """`name` over the ledger and into the output folder of `folder`, in the session `trial`."""
    where = (folder / "out", "--ledger", folder / f"{name}.db", "--session", "trial")
    return run(folder, sys.executable, REPOSITORY / "examples" / name, *where, *options)


def finished(clone: Path, name: str) -> dict[str, Any]:
    ledger = clone / f"{name}.db"
    command = (sys.executable, f"examples/{name}", "out", "--ledger", ledger, "--session", "trial")
    return {"process": run(clone, *command), "folder": clone, "ledger": ledger}


def contracts_in(ledger: Path) -> list[dict[str, Any]]:
    """The contracts of the session `trial`, oldest first."""

    async def read() -> list[dict[str, Any]]:
        async with Orchestrator(ledger) as orchestrator:
            return await orchestrator.get_contracts("trial")

    return asyncio.run(read())


def exchanges_in(ledger: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each REQUEST of the session with the RESPONSE that answers it; fails where one has not exactly one."""
    contracts = contracts_in(ledger)
    requests = [contract for contract in contracts if contract["contract_type"] == "REQUEST"]
    responses = {contract["request_id"]: contract for contract in contracts if contract["contract_type"] == "RESPONSE"}
    assert len(contracts) == 2 * len(requests) == 2 * len(responses)
    return [(request, responses[request["contract_id"]]) for request in requests]


def results_in(ledger: Path) -> dict[str, Any]:
    """The result of each capability that was asked for from outside."""
    pairs = exchanges_in(ledger)
    return {request["capability"]: response["result"] for request, response in pairs if not request["parent_id"]}


def assert_completed(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    for request, response in pairs:
        assert (request["status"], response["status"]) == ("completed", "completed")
        assert request["completed_at"]
        assert response["result"]
        assert (response["from_agent"], response["to_agent"]) == (request["to_agent"], request["from_agent"])


# The code analysis


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
    assert "### `Orchestrator`\n\nCalls agents by what they can do and keeps every exchange in the ledger." in page
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
    assert f"{name}.db is a folder" in process.stderr.splitlines()[-1]


# The data workflow


def raw_birds() -> list[tuple[str, float, float]]:
    """Species, bill length and bill depth of each bird that was measured, read without pandas."""
    with raw_table().open(newline="") as table:
        return [
            (row["Species"].split()[0], float(row["Culmen Length (mm)"]), float(row["Culmen Depth (mm)"]))
            for row in csv.DictReader(table)
            if "NA" not in (row["Culmen Length (mm)"], row["Culmen Depth (mm)"])
        ]


def correlation(birds: list[tuple[str, float, float]]) -> Any:
    return pytest.approx(statistics.correlation([x for _, x, _ in birds], [y for _, _, y in birds]))


def test_the_data_workflow_leaves_a_completed_exchange_for_each_step_and_each_delegation(plotted):
    assert plotted["process"].returncode == 0  # matplotlib may say on stderr that it collects its fonts
    pairs = exchanges_in(plotted["ledger"])
    asked = [request["capability"] for request, _ in pairs]
    assert asked == ["clean_data", "analyze", "visualize", "analyze", "analyze", "analyze"]
    assert_completed(pairs)


def test_what_the_visualization_agent_asks_for_stands_below_its_own_request(plotted):
    pairs = exchanges_in(plotted["ledger"])
    visualize = next(request for request, _ in pairs if request["capability"] == "visualize")
    below = [request for request, _ in pairs if request["parent_id"]]
    assert {request["parent_id"] for request in below} == {visualize["contract_id"]}
    assert {(request["from_agent"], request["to_agent"]) for request in below} == {
        ("visualization_001", "analysis_001")
    }
    assert sorted(request["payload"]["species"] for request in below) == ["Adelie", "Chinstrap", "Gentoo"]
    assert [request["parent_id"] for request, _ in pairs[:3]] == [None, None, None]


def test_the_clean_table_holds_exactly_the_birds_that_were_measured(plotted):
    with (plotted["folder"] / "out" / "penguins.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    kept = [(row["species"], float(row["bill_length_mm"]), float(row["bill_depth_mm"])) for row in rows]
    assert kept == raw_birds()
    told = results_in(plotted["ledger"])["clean_data"]
    assert (told["rows_read"], told["rows_kept"]) == (344, 342)


def test_the_correlations_are_those_of_the_raw_table(plotted):
    birds, results = raw_birds(), results_in(plotted["ledger"])
    assert results["analyze"] == {"rows": len(birds), "correlation": correlation(birds)}
    species = Counter(name for name, _, _ in birds)
    assert results["visualize"]["species"] == {
        name: {"rows": count, "correlation": correlation([bird for bird in birds if bird[0] == name])}
        for name, count in species.items()
    }


def test_a_delegated_answer_is_what_the_visualization_agent_passes_on(plotted):
    pairs = exchanges_in(plotted["ledger"])
    delegated = {
        request["payload"]["species"]: response["result"] for request, response in pairs if request["parent_id"]
    }
    assert results_in(plotted["ledger"])["visualize"]["species"] == delegated


def test_the_plot_is_a_png_of_800_by_600_with_a_colour_for_each_species(plotted):
    from PIL import Image

    plot = plotted["folder"] / "out" / "penguins.png"
    head = plot.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:]) == (800, 600)
    with Image.open(plot) as image:
        hues = Counter(pixel[0] // 6 for pixel in image.convert("HSV").get_flattened_data() if pixel[1] > 100)
    assert len([hue for hue, pixels in hues.items() if pixels > 500]) >= 3


def test_the_data_workflow_tells_the_figures_that_it_found(plotted):
    assert "r = -0.24" in plotted["process"].stdout
    assert "Adelie +0.39, Chinstrap +0.65, Gentoo +0.64" in plotted["process"].stdout


def test_a_table_that_is_not_there_fails_the_first_step_and_ends_the_workflow(tmp_path):
    process = example(tmp_path, "data_workflow.py", "--table", tmp_path / "nowhere.csv")
    assert process.returncode == 1
    assert re.search(r"^clean_data failed: FileNotFoundError.*nowhere\.csv", process.stderr, re.MULTILINE)
    ((request, response),) = exchanges_in(tmp_path / "data_workflow.py.db")
    assert (request["status"], response["status"]) == ("failed", "failed")


def test_a_species_with_a_single_bird_fails_the_plot_with_the_reason_of_the_agent_it_asked(tmp_path):
    lines = raw_table().read_text().splitlines()
    few = tmp_path / "few.csv"
    few.write_text("\n".join([*lines[:4], next(line for line in lines if "Gentoo" in line)]) + "\n")
    process = example(tmp_path, "data_workflow.py", "--table", few)
    assert process.returncode == 1
    assert "visualize failed: 1 rows of Gentoo are too few\n" in process.stderr
    pairs = exchanges_in(tmp_path / "data_workflow.py.db")
    ended = {request["payload"].get("species", request["capability"]): request["status"] for request, _ in pairs}
    assert ended == {
        "clean_data": "completed",
        "analyze": "completed",
        "visualize": "failed",
        "Adelie": "completed",
        "Gentoo": "failed",
    }
    assert not (tmp_path / "out" / "penguins.png").exists()


# The pipeline


def longest(folder: Path, *items: str) -> subprocess.CompletedProcess[str]:
    """`aorch run longest_files` as a newcomer runs it, in the example's own folder."""
    where = REPOSITORY / "examples" / "longest_files"
    words = ("run", "longest_files", *items, "--session", "trial", "--ledger", str(folder / "longest.db"))
    line = shlex.join([sys.executable, "-m", "aorch", *words])
    return run(folder, "sh", "-c", f"cd {shlex.quote(str(where))} && {line}")


def test_the_pipeline_finds_the_longest_files_by_a_fan_out(tmp_path):
    lengths = {"short": 1, "long": 30, "middle": 7, "tiny": 0}
    for name, length in lengths.items():
        (tmp_path / f"{name}.txt").write_text("x\n" * length)
    process = longest(tmp_path, f"folder={tmp_path}", "name=*.txt", "most:=2")
    assert process.returncode == 0, process.stderr
    assert process.stdout == f"30 {tmp_path}/long.txt\n7 {tmp_path}/middle.txt\n"
    asked = Counter(request["capability"] for request, _ in exchanges_in(tmp_path / "longest.db"))
    assert asked == {"longest_files": 1, "find_files": 1, "count_file": 4, "rank": 1}


def test_the_pipeline_says_which_folder_is_not_there(tmp_path):
    process = longest(tmp_path, f"folder={tmp_path / 'nowhere'}")
    assert process.returncode == 10
    assert f"step find: exit code 1: there is no folder {tmp_path / 'nowhere'}" in process.stderr


# The page about all of them


def test_every_command_of_the_examples_page_works_in_order(clone, tmp_path):
    page = (REPOSITORY / "examples" / "README.md").read_text()
    commands = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 6
    for folder in ("aorch", "examples"):
        (tmp_path / folder).symlink_to(clone / folder)
    activated = f"{Path(sys.executable).parent}:/usr/bin:/bin"  # what `uv run` does before it starts a program
    for command in commands:
        process = run(tmp_path, *shlex.split(re.sub(r"^uv run -q( --group examples)? ", "", command)), path=activated)
        assert process.returncode == 0, f"{command}: {process.stderr}"
        if "--json" in command:
            assert "issue_severity" in process.stdout
            assert json.loads(process.stdout)
        else:
            assert re.search(r"visualiz|security_scan|^\d+ .*\.py$", process.stdout, re.MULTILINE)

"""The pipeline in `examples/`, and every command of the examples' page."""

import json
import re
import shlex
import sys
from collections import Counter
from pathlib import Path

import pytest
from examples_run import REPOSITORY, exchanges_in, longest, run

pytestmark = pytest.mark.torture  # the examples' own libraries, on real input


# The pipeline


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

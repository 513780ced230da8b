"""One `aorch run` passes its output to the next in a shell pipe."""

import subprocess
from collections.abc import Callable
from pipes import AGENTS

import pytest
from homes import Home


@pytest.fixture
def shell(home: Home) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs a line in bash, in which AGENTS are there."""
    home.write("aorch.toml", AGENTS)
    return home.bash


def test_a_text_is_handed_on_as_text(shell: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = shell("aorch run echo text='a b' | aorch run uppercase text=@- | aorch run say text=@-")
    assert (done.returncode, done.stdout.rstrip("\n"), done.stderr) == (0, "ECHO: A B", "")


@pytest.mark.parametrize("document", ['{"a":[1,"é"],"n":12345678901234567890123}', '{"a":null,"b":{}}'])
def test_an_object_is_handed_on_as_json(
    shell: Callable[[str], subprocess.CompletedProcess[str]], document: str
) -> None:
    assert shell(f"aorch run give json='{document}' | aorch run give json:=@-").stdout == f"{document}\n"


def test_where_the_first_fails_the_second_refuses_and_both_exit_codes_tell(
    shell: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = shell("aorch run fail | aorch run uppercase text=@-; echo ${PIPESTATUS[@]}")
    assert done.stdout == "10 2\n"
    assert shell("set -o pipefail; aorch run fail | cat").returncode == 10
    assert "no such table" in done.stderr
    assert "is an empty pipe" in done.stderr
    assert shell("aorch run fail | aorch run give json:=@-").returncode == 2
    assert shell("aorch run fail | aorch run give --params @-").returncode == 2


def test_an_empty_file_is_an_empty_text(shell: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    assert shell("aorch run echo text=@- < /dev/null").stdout == "Echo: \n"
    assert shell(": > empty; aorch run echo text=@- < empty").stdout == "Echo: \n"


def test_a_text_that_should_be_json_is_rejected_by_name(
    shell: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = shell("aorch run echo text=a | aorch run give json:=@-")
    assert done.returncode == 2
    assert "standard input for parameter 'json' is not JSON" in done.stderr

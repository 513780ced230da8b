"""Invalid input on the command line: one clear sentence and the right exit code, never a traceback. And valid input nearby."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from homes import Home, prestarted

LATIN = "caf\udce9"
"""Bytes that are not UTF-8, as Python has them in arguments."""
LONG = "x" * 5000
BIG = "9" * 30
ID = "01K8VF9XK83SYH1HAX57ZGJDYS"
TASK = '{"capability":"echo","parameters":{"text":"a"}}\n'


class Case(NamedTuple):
    """A command, its exit code, and what stderr holds."""

    arguments: tuple[str, ...]
    code: int
    said: str = "error:"
    more: dict[str, Any] = {}  # noqa: RUF012  never changed


def each(code: int, said: str, *commands: tuple[str, ...], **more: Any) -> list[Case]:
    return [Case(command, code, said, more) for command in commands]


ECHO = ("run", "echo", "text=a")
ADD = ("agents", "add", "z", "--capability", "z")
READING = (("contracts", "list"), ("contracts", "export"), ("status",), ("memory", "search", "x"))
WRITING = (ECHO, ("tokens", "create", "x"), ("worker", "--drain"), ("run", "--batch", "t.jsonl"), (*ECHO, "--detach"))
ANY = (
    *READING,
    *WRITING,
    ("compress", "s"),
    ("trace", "status"),
    ("contracts", "wait", ID),
    ("contracts", "cancel", ID),
)


def option(name: str, *values: str, after: tuple[str, ...] = ECHO) -> tuple[tuple[str, ...], ...]:
    return tuple((*after, name, value) for value in values)


CASES = [
    # paths
    *each(14, "File name too long", *((*command, "--ledger", LONG) for command in ANY)),
    *each(2, "no home directory for '~nosuchuser'", *((*command, "--ledger", "~nosuchuser/x.db") for command in ANY)),
    *each(14, "is a directory", *((*command, "--ledger", "folder") for command in (ECHO, *READING))),
    *each(2, "file name is empty", *((*command, "--ledger", "") for command in (ECHO, *READING))),
    *each(2, "is neither a file nor the URL", *((*command, "--ledger", "sqlite:///x.db") for command in (ECHO, *READING))),
    *each(2, "the working directory was removed", *((*command, "--ledger", "rel.db") for command in ANY), removed=True),
    *each(2, "the working directory was removed", ECHO, ("agents", "list"), ("status",), removed=True),
    *each(2, "--config", *option("--config", "", LONG, "~nosuchuser/x", after=("agents", "list"))),
    *each(2, "cannot read", *option("--config", "folder", after=("agents", "list"))),
    *each(12, "file not found", *option("--config", "nope", LATIN, after=("agents", "list"))),
    *each(2, "error:", *(("run", "--batch", name) for name in ("", "folder", LONG, "~nosuchuser/x", "t.jsonl/x"))),
    *each(12, "file not found", ("run", "--batch", "nope"), ("run", "echo", "text=@nope"), ("run", "echo", "--params", "@nope")),
    *each(2, "error:", *(("run", "echo", f"text=@{name}") for name in ("folder", LONG, "~nosuchuser/x", ""))),
    *each(2, "error:", *(("run", "echo", "--params", f"@{name}") for name in ("folder", LONG, "~nosuchuser/x", ""))),
    *each(2, "cannot write", *option("--output", "folder", LONG, after=("contracts", "export"))),
    *each(2, "cannot read", ("contracts", "import", "folder"), ("contracts", "import", LONG)),
    *each(2, "error:", *option("--token-file", "folder", LONG, "~nosuchuser/x", after=("serve", "--port", "0"))),
    *each(12, "file not found", ("config", "trust", "nope"), ("config", "trust", LONG), ("config", "trust", LATIN)),
    *each(12, "file not found", ("contracts", "import", LATIN)),
    *each(2, "no home directory", ("config", "trust", "~nosuchuser/x")),
    *each(2, "there is no directory", ("ledger", "backup", "nope/copy.db")),
    *each(2, "hint: Name a file (./- if that is its name).", ("ledger", "backup", "-"), ("ledger", "restore", "-")),
    *each(2, "'-' is a stream, not a file", ("ledger", "copy", "-", "new.db"), ("ledger", "copy", "old.db", "-")),
    *each(2, "'-' is a stream, not a file", *((*command, "--ledger", "-") for command in (ECHO, *READING))),
    *each(2, "FILE: the file name is empty", ("ledger", "backup", ""), ("ledger", "restore", "")),
    # options without a value before another option
    *each(2, "--retry-failed needs a value (SESSION), but the option --session", ("run", "--retry-failed", "--session", "s")),
    *each(2, "--retry-failed needs a value (SESSION), but the option -s follows", ("run", "--retry-failed", "-s", "s")),
    *each(2, "hint: Write the value after it, or --session=--agent", (*ECHO, "-s", "--agent", "x")),
    *each(2, "the option --json follows", (*ECHO, "--timeout", "--json"), ("contracts", "list", "-s", "--json")),
    *each(2, "--config needs a value (FILE), but the option --server follows", ("--config", "--server", "x", "run")),
    *each(0, "", (*ECHO, "--session=--json"), ("contracts", "list", "-s", "--", "--json")),
    # texts that are not UTF-8
    *each(2, "--session: not valid UTF-8", *option("--session", LATIN), *option("--session", LATIN, after=("contracts", "list"))),
    *each(2, "not valid UTF-8", *option("--agent", LATIN), *option("--webhook", LATIN), *option("--params", LATIN)),
    *each(2, "not valid UTF-8", ("run", LATIN), ("run", "echo", f"text={LATIN}"), ("run", "echo", f"{LATIN}=x")),
    *each(2, "not valid UTF-8", *option("--batch-name", LATIN, after=("run", "--batch", "t.jsonl"))),
    *each(2, "not valid UTF-8", ("run", "--retry-failed", LATIN), ("contracts", "show", LATIN), ("contracts", "resume", LATIN)),
    *each(2, "not valid UTF-8", *((*group, LATIN) for group in (("memory", "show"), ("memory", "verify"), ("compress",)))),
    *each(2, "not valid UTF-8", ("tokens", "create", LATIN), ("trace", "import", LATIN), ("serve", "--host", LATIN)),
    *each(2, "not valid UTF-8", ("agents", "add", LATIN, "--capability", "x", "--", "true"), (*ADD, "--", LATIN)),
    *each(2, "not valid UTF-8", *((*ADD, name, LATIN, "--", "true") for name in ("--capability", "--cwd", "--stdin"))),
    *each(2, "not valid UTF-8", (*ADD, "--description", LATIN, "--", "true"), (*ADD, "--env", f"A={LATIN}", "--", "true")),
    # numbers
    *each(2, "is not a number of seconds", *option("--timeout", "nan", "inf", "-inf", "1e400")),
    *each(2, "is not a number of seconds", *option("--grace", "nan", "inf", after=("worker", "--drain"))),
    *each(2, "is not a number of seconds", *option("--grace", "nan", "inf", after=("serve", "--port", "0"))),
    *each(2, "is not a number of seconds", *option("--timeout", "nan", "inf", after=("contracts", "wait", ID))),
    *each(2, "is not a number of seconds", *((*ADD, "--timeout", value, "--", "true") for value in ("nan", "inf"))),
    *each(2, "greater than 0", *option("--timeout", "0", "-1")),
    *each(2, "", *option("--timeout", "x", ""), *option("--priority", "0", "6", BIG, "x", after=(*ECHO, "--detach"))),
    *each(2, "", *option("--limit", "0", "-1", BIG, "1.5", "", after=("contracts", "list"))),
    *each(2, "", *option("--limit", "-1", BIG, "x", after=("contracts", "tail"))),
    *each(2, "too large", *option("--limit", BIG, after=("memory", "search", "x"))),
    *each(2, "", *option("--parallel", "0", "4097", BIG, after=("worker", "--drain"))),
    *each(2, "", *option("--port", "70000", BIG, after=("serve",)), *option("--workers", "0", "257", after=("serve",))),
    *each(2, "neither a time nor", *option("--since", "x", "", f"{BIG}d", "nan", "2026-13-01", after=("contracts", "list"))),
    *each(2, "neither a time nor", *option("--not-before", "x", "-1h", f"{BIG}d", after=(*ECHO, "--detach"))),
    # parameters
    *each(2, "", ("run", "echo", "n:=nan"), ("run", "echo", "n:={"), ("run", "echo", "=x"), ("run", "echo", "")),
    *each(2, "", ("run", "echo", "n:=" + "[" * 100_000), ("run", "echo", "--params", "[]"), ("run", "echo", "--params", "")),
    *each(2, "", ("run", ""), ("run", "echo", "--context", "3"), (*ECHO, "--session", "")),
    *each(2, "", ("agents", "add"), (*ADD, "--env", "A", "--", "true"), (*ADD, "--param", "a:=nan", "--", "true")),
    *each(2, "", ("agents", "add", "--class", "x"), ("agents", "add", "--class", ":"), ("agents", "add", "--class", "os:")),
    *each(2, "", ("nosuch",), ("--nosuch",), ("",), (LATIN,), ("agents", "nosuch"), ("run", "--nosuch")),
    # the environment
    *each(2, "ORCHESTRATOR_PORT", ECHO, environment={"ORCHESTRATOR_PORT": BIG}),
    *[
        case
        for name in ("TRACE_URL", "MEMAGENT_URL")
        for url in ("x", "http://", "http://ann:pa55@h", "http://h:99999", LATIN, "ftp://h")
        for case in each(2, f"{name} is not a valid service URL", ("status",), environment={name: url})
    ],
    *each(14, "File name too long", ECHO, ("contracts", "list"), environment={"AORCH_LEDGER": LONG}),
    *each(2, "", ECHO, environment={"AORCH_SESSION_ID": LATIN}),
    # what looks like it, and works
    *each(0, "", ECHO, environment={"AORCH_PARENT_ID": LATIN}),
    *each(0, "", ECHO, environment={"AORCH_PARENT_ID": ID}),
    *each(0, "", ECHO, environment={"HOME": LONG, "XDG_CONFIG_HOME": LONG}),
    *each(0, "", ("run", "--batch", f"{LATIN}.jsonl"), ("run", "echo", f"text=@{LATIN}.jsonl")),
    *each(0, "", (*ECHO, "--ledger", f"{LATIN}.db"), ("agents", "list", "--config", "/dev/null")),
]  # fmt: skip


@pytest.fixture(scope="module")
def results(module_home: Home) -> list[tuple[int, str]]:
    """The exit code and stderr of each case."""
    home = module_home
    home.write("aorch.toml", "# not empty\n")
    (home.folder / "folder").mkdir()
    for name in ("t.jsonl", f"{LATIN}.jsonl"):
        home.write(name, TASK)
    ends = [ended(home, case) for case in CASES]
    assert (home.folder / "aorch.toml").read_text() == "# not empty\n"
    return ends


def ended(home: Home, case: Case) -> tuple[int, str]:
    """The exit code and stderr of a case."""
    directory = home.folder
    if case.more.get("removed"):
        directory = home.folder / "removed"
        directory.mkdir()
    descriptor = os.open(directory, os.O_DIRECTORY)
    if directory != home.folder:
        directory.rmdir()
    given = os.fsencode(case.more.get("stdin", ""))
    environment = home.environment | case.more.get("environment", {})
    forked = prestarted()
    assert forked is not None
    code, _, err = forked.run(list(case.arguments), given, descriptor, environment, timeout=20)
    os.close(descriptor)
    return code, err.decode()


def test_more_than_120_kinds_of_input_end_with_one_error_and_the_right_exit_code(
    results: list[tuple[int, str]],
) -> None:
    assert len(CASES) > 120
    wrong = []
    for case, (code, err) in zip(CASES, results, strict=True):
        if code != case.code or case.said not in " ".join(err.split()) or "Traceback" in err or "pa55" in err:
            shown = [argument[:40] for argument in case.arguments]
            wrong.append(f"{shown} {str(case.more)[:80]}: {code}, not {case.code}: {err[-300:]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_a_home_gets_an_error_and_can_name_a_ledger(made_ledger: Path) -> None:
    forked = prestarted()
    assert forked is not None

    def aorch(*arguments: str) -> tuple[int, bytes, bytes]:
        """Run a command as a user that the system does not know."""
        return forked.run(list(arguments), None, Path("/"), {"PATH": os.environ["PATH"]}, 60, user=54321)

    code, _, err = aorch("status")
    assert (code, err.splitlines()[0]) == (2, b"error: there is no directory for the ledger: HOME is not set")
    with tempfile.TemporaryDirectory() as folder:
        ledger = shutil.copy(made_ledger, folder)
        Path(folder).chmod(0o777)
        Path(ledger).chmod(0o666)
        assert aorch("run", "echo", "text=hi", "--ledger", ledger) == (0, b"Echo: hi\n", b"")


def test_a_failed_edit_leaves_no_file_next_to_aorch_toml(home: Home) -> None:
    assert home.aorch("agents", "add", "y", "--capability", "y", "--", LATIN).code == 2
    assert not list(home.folder.glob(".aorch-*"))

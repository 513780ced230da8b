"""Runs many `aorch` commands from one process, each in a fork of it: a start of Python for each would take most of the time.

`python cli_cases.py < CASES` reads a JSON list of cases (`arguments`, and optionally `stdin`, `environment`, `removed`) and
writes a JSON list of [exit code, stdout, stderr]. Texts may hold lone surrogates, which stand for bytes that are not UTF-8.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

STUCK_S = 20


def in_this_process(case: dict[str, Any]) -> int:
    """Run one case to its end in this (forked) process; the exit code."""
    os.environ.update(case.get("environment", {}))
    if case.get("removed"):  # the working directory
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        Path(folder).rmdir()
    sys.argv = ["aorch", *case["arguments"]]
    try:
        from aorch.__main__ import main

        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001  what Python would print on its way out
        traceback.print_exc()
        return 1
    return 0


def run(case: dict[str, Any]) -> tuple[int, str, str]:
    """[exit code, stdout, stderr] of one case."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(os.fsencode(case.get("stdin", "")))
        given.seek(0)
        child = os.fork()
        if child == 0:
            signal.alarm(STUCK_S)
            for number, file in enumerate((given, out, err)):
                os.dup2(file.fileno(), number)
            code = in_this_process(case)
            sys.stdout and sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
        return os.waitstatus_to_exitcode(status), texts[0], texts[1]


if __name__ == "__main__":
    json.dump([run(case) for case in json.load(sys.stdin)], sys.stdout)

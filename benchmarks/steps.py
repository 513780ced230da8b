"""How many calls of aorch's own functions one task takes: `python benchmarks/steps.py [--list]`.

Counted with `sys.setprofile` in every thread, for one `POST /v1/orchestrate` (after others that fill the caches) and for one
`aorch run echo`: each time the fewest of several, since timers may run beside a slow one. A coroutine counts once, not each time
that it is resumed; comprehensions and the import of modules do not count. `--list` prints each function with its calls.

(It must not import anything that imports `http` of the standard library: see http.py.)
"""

import json
import socket
import subprocess
import sys
from pathlib import Path

from measure import PYTHON, Goals, machine

POSTS, RUNS = 11, 5
BODY = json.dumps({"session_id": "session_001", "capability": "echo", "parameters": {"text": "Hello, world!"}})
REQUEST = (
    "POST /v1/orchestrate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n{BODY}"
)

COUNTED = """
import sys, threading
from collections import Counter
from pathlib import Path
import aorch

package, calls, resumable, importing = str(Path(aorch.__file__).parent) + "/", Counter(), set(), []

def count(frame, event, _):
    code = frame.f_code
    if not code.co_filename.startswith(package):
        return
    if code.co_name == "<module>":
        importing.append(None) if event == "call" else event == "return" and importing.pop()
    elif event == "call" and not importing and code.co_flags & 2 and code.co_name not in COMPREHENSIONS:
        if frame not in resumable:
            calls[f"{code.co_filename.removeprefix(package)}:{code.co_qualname}"] += 1
        if code.co_flags & 0x2A0:  # a generator, a coroutine, an asynchronous generator
            resumable.add(frame)

COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}

def report(stream):
    import json
    print(json.dumps(calls), file=stream, flush=True)

def start():
    threading.setprofile(count)
    sys.setprofile(count)
"""

SERVE = (
    COUNTED
    + """
def obey():
    for line in original_stdin:
        if line == "reset\\n":
            calls.clear(), resumable.clear()
            print("{}", file=original_stdout, flush=True)
        else:
            report(original_stdout)

import os
original_stdin, original_stdout = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
threading.Thread(target=obey, daemon=True).start()
from aorch.__main__ import main
sys.argv = ["aorch", "serve", "--port", "0"]
start()
main()
"""
)

RUN = (
    COUNTED
    + """
import atexit
atexit.register(lambda: (sys.setprofile(None), report(sys.stderr)))
from aorch.__main__ import main
sys.argv = ["aorch", "run", "echo", "text=hi"]
start()
main()
"""
)

Calls = dict[str, int]


def of_post(folder: Path, environment: dict[str, str]) -> Calls:
    """The calls of one POST /v1/orchestrate; the one with the fewest of POSTS, as timers may run beside the others."""
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PYTHON, "-c", SERVE],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None

    def order(line: str) -> Calls:
        print(line, file=process.stdin, flush=True)
        calls: Calls = json.loads(process.stdout.readline())
        return calls

    try:
        while "http://" not in (printed := log.read_text()):
            assert process.poll() is None, printed
        port = int(printed.split("http://127.0.0.1:")[1].split()[0])
        taken = []
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for _ in range(2 * POSTS):
                order("reset")
                connection.sendall(REQUEST.encode())
                assert b'{"success":true' in connection.recv(65536)
                taken.append(order("report"))
        return min(taken[POSTS:], key=lambda calls: sum(calls.values()))
    finally:
        process.terminate()
        process.wait()


def of_run(folder: Path, environment: dict[str, str]) -> Calls:
    """The calls of one `aorch run echo` in a ledger that exists; the one with the fewest of RUNS."""
    taken: list[Calls] = []
    for _ in range(1 + RUNS):
        done = subprocess.run(
            [PYTHON, "-c", RUN], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout == "Echo: hi\n", done.stdout
        taken.append(json.loads(done.stderr.splitlines()[-1]))
    return min(taken[1:], key=lambda calls: sum(calls.values()))


def main() -> None:
    """Count, print, compare with the goals."""
    goals = Goals("calls of aorch's own functions")
    with machine() as (folder, environment):
        for what, calls, most in (
            ("one POST /v1/orchestrate", of_post(folder, environment), 70),
            ("one aorch run echo", of_run(folder, environment), 130),
        ):
            files = {name.partition(":")[0] for name in calls}
            goals.at_most(f"{what} (in {len(files)} files)", sum(calls.values()), most)
            if "--list" in sys.argv:
                for name, number in sorted(calls.items()):
                    print(f"    {number:4} {name}")
    goals.end()


if __name__ == "__main__":
    main()

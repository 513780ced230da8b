"""`aorch` commands in processes of their own that need no start of Python: each is a fork of one that has its imports done.

A start of Python and the imports take 0.15 to 0.5 s of CPU a command, a fork 10 ms. The forked process has the arguments, the
environment, the directory and the descriptors of the command, and ends as the interpreter ends.

`python prestarted.py SOCKET` is that one process. `Prestarted` starts it and asks it for commands.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

PRELOADED = ("agents", "compress", "contracts", "memory", "run", "serve", "status", "tokens", "trace", "worker")
AT_START = ("TERMINAL_WIDTH", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "LC_ALL", "_TYPER_COMPLETE_ARGS")
"""Variables that Python or a library reads when it starts."""


class Prestarted:
    """The process that is forked, started when the first command needs it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._address = folder / "commands"
        self._at_start = _read_at_start(environment)
        command = [sys.executable, __file__, str(self._address)]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "cwd": folder, "env": environment}
        self._process = subprocess.Popen(command, **options)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def can_run(self, environment: dict[str, str]) -> bool:
        """Whether a command with that environment would start as the forked process did."""
        return _read_at_start(environment) == self._at_start

    def run(
        self, arguments: list[str], given: bytes | None, cwd: int, env: dict[str, str], timeout: float
    ) -> tuple[int, bytes, bytes]:
        """Run `aorch` with `arguments` to its end in the directory that the descriptor `cwd` has open.

        Returns its exit code (negative: the signal that killed it), stdout and stderr.
        """
        pipes = [os.pipe() for _ in range(3)]
        (stdin, feed), (out, stdout), (err, stderr) = pipes
        request = {"arguments": arguments, "env": env, "umask": _umask()}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._address))
            try:
                socket.send_fds(connection, [b"."], [stdin, stdout, stderr, cwd])
                connection.sendall(json.dumps(request).encode() + b"\n")
            finally:
                for descriptor in (stdin, stdout, stderr):
                    os.close(descriptor)
            read: dict[int, bytes] = {}
            threads = [threading.Thread(target=_read_all, args=(each, read)) for each in (out, err)]
            threads.append(threading.Thread(target=_write_all, args=(feed, given or b"")))
            for thread in threads:
                thread.start()
            connection.settimeout(timeout)
            answers = connection.makefile()
            pid = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["aorch", *arguments], timeout) from None
            finally:
                for thread in threads:
                    thread.join(timeout)
        return code, read[out], read[err]

    def stop(self) -> None:
        """End the process; the commands have ended."""
        self._process.kill()
        self._process.communicate()


def _read_at_start(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(("PYTHON", "LANG", "LD_", "COVERAGE")) or name in AT_START
    }


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def _read_all(descriptor: int, into: dict[int, bytes]) -> None:
    with open(descriptor, "rb") as file:
        into[descriptor] = file.read()


def _write_all(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb") as file:
        file.write(data)


def serve(address: str) -> list[str]:
    """Fork a process for each request. Returns in the forked one, with its arguments, once it is as a new process."""
    running: dict[int, tuple[int, socket.socket]] = {}
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(address)
        listening.listen(64)
        selector.register(listening, selectors.EVENT_READ)
        os.write(1, b"ready\n")
        while True:
            for key, _ in selector.select():
                if key.fileobj is not listening:  # a command has ended
                    pid, connection = running.pop(key.fd)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _, status = os.waitpid(pid, 0)
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
                    continue
                connection, _ = listening.accept()
                descriptors = socket.recv_fds(connection, 1, 4)[1]
                request = json.loads(connection.makefile().readline())
                if (pid := os.fork()) == 0:
                    for other, (_, its) in running.items():
                        os.close(other)
                        its.close()
                    connection.close()
                    break
                for descriptor in descriptors:
                    os.close(descriptor)
                connection.sendall(b"%d\n" % pid)
                watched = os.pidfd_open(pid)
                running[watched] = (pid, connection)
                selector.register(watched, selectors.EVENT_READ)
            else:
                continue
            break
    os.fchdir(descriptors.pop())
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 2)
    os.environ.clear()
    os.environ.update(request["env"])
    os.umask(request["umask"])
    return request["arguments"]


def end(main: Callable[[], None]) -> NoReturn:
    """Run `main` and end as the interpreter does, but without taking apart every imported module (0.2 s)."""
    code = 0
    try:
        main()
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 0 if stopped.code is None else 1
        if isinstance(stopped.code, str):
            sys.stderr.write(f"{stopped.code}\n")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001  the interpreter prints it
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  waits for threads that are no daemons
    atexit._run_exitfuncs()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except Exception:  # noqa: BLE001  likewise
        code = 120
    os._exit(code & 0xFF)


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(f"aorch.cli.commands.{name}")
    for name in ("aorch.orchestrator", "aorch.memory.compressor", "aorch.ledger.reader", "aorch.server.http_runner"):
        importlib.import_module(name)
    from aorch.__main__ import main

    gc.collect()
    gc.freeze()  # what is imported stays shared between the processes
    sys.argv = ["aorch", *serve(sys.argv[1])]
    end(main)

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
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

NOT_PRELOADED = ("aorch.__main__", "aorch.ledger.generate_statements", "aorch.ledger.queries")
STREAMS = ("stdin", "stdout", "stderr")
AT_START = ("TERMINAL_WIDTH", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "LC_ALL", "_TYPER_COMPLETE_ARGS")
"""Variables that Python or a library reads when it starts."""


class Forked:
    """A command in a process of its own, used as a `subprocess.Popen` is."""

    def __init__(self, arguments: list[str], connection: socket.socket, pipes: dict[str, IO[bytes]]) -> None:
        self.args = ["aorch", *arguments]
        self._connection = connection
        self.stdin, self.stdout, self.stderr = (pipes.get(name) for name in STREAMS)
        self._pidfd: int = socket.recv_fds(connection, 1, 1)[1][0]
        self.pid = int(self._read_number())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative if a signal killed the process; None while it runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process ends; returns its exit code."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def communicate(
        self, given: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes | None, bytes | None]:
        """Write `given` to stdin, wait until the process ends, and return what it wrote to stdout and stderr."""
        read: dict[str, bytes] = {}
        threads = [
            threading.Thread(target=_read_all, args=(name, pipe, read), daemon=True)
            for name in STREAMS[1:]
            if (pipe := getattr(self, name)) and not pipe.closed
        ]
        if self.stdin and not self.stdin.closed:
            threads.append(threading.Thread(target=_write_all, args=(self.stdin, given or b""), daemon=True))
        end = None if timeout is None else time.monotonic() + timeout
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(None if end is None else max(0, end - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if end is None else max(0, end - time.monotonic()))
        return read.get("stdout"), read.get("stderr")

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended. Never reaches another process that got its pid since."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe:
                pipe.close()
        self.wait()

    def _end(self) -> None:
        self.returncode = int(self._read_number())
        os.close(self._pidfd)
        self._connection.close()

    def _read_number(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += (read := self._connection.recv(1))
            assert read, "the prestarted process has ended"
        return line


class Prestarted:
    """The process that is forked, started when the first command needs it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._address = folder / "commands"
        self._at_start = _read_at_start(environment)
        command = [sys.executable, __file__, str(self._address)]
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": folder, "env": environment}
        self._process = subprocess.Popen(command, **options)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    @property
    def command(self) -> list[str]:
        """How a shell starts `aorch` as a fork of the process; its streams must be open."""
        return [sys.executable, "-S", "-E", str(Path(__file__).with_name("forked_aorch.py")), str(self._address)]

    def can_run(self, environment: dict[str, str]) -> bool:
        """Whether a command with that environment would start as the forked process did."""
        return _read_at_start(environment) == self._at_start

    def start(
        self,
        arguments: list[str],
        folder: Path,
        env: dict[str, str],
        *,
        start_new_session: bool = False,
        **streams: Any,
    ) -> Forked:
        """Start `aorch` with `arguments` in `folder`; the streams are what they are for `subprocess.Popen`."""
        request = {"arguments": arguments, "env": env, "umask": _umask(), "new_session": start_new_session}
        pipes: dict[str, IO[bytes]] = {}
        with contextlib.ExitStack() as sent:
            descriptors = [_open_stream(name, streams.get(name), pipes, sent) for name in STREAMS]
            descriptors.append(os.dup(folder) if isinstance(folder, int) else os.open(folder, os.O_DIRECTORY))
            sent.callback(os.close, descriptors[-1])
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(self._address))
            socket.send_fds(connection, [b"."], descriptors)
            connection.sendall(json.dumps(request).encode() + b"\n")
        return Forked(arguments, connection, pipes)

    def run(
        self, arguments: list[str], given: bytes | None, folder: Path | int, env: dict[str, str], timeout: float
    ) -> tuple[int, bytes, bytes]:
        """Run `aorch` with `arguments` in `folder` until it ends.

        Returns its exit code (negative: the signal that killed it), stdout and stderr.
        """
        pipe = subprocess.PIPE
        process = self.start(arguments, folder, env, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            out, err = process.communicate(given, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        assert process.returncode is not None
        return process.returncode, out or b"", err or b""

    def stop(self) -> None:
        """End the process, and the commands that still run."""
        self._process.communicate()


def _open_stream(name: str, stream: Any, pipes: dict[str, IO[bytes]], sent: contextlib.ExitStack) -> int:
    """The descriptor that the command gets as its stream `name`."""
    if stream is None:
        return STREAMS.index(name)
    if stream == subprocess.DEVNULL:
        descriptor = os.open(os.devnull, os.O_RDWR)
    elif stream == subprocess.PIPE:
        reading, writing = os.pipe()
        descriptor, ours = (reading, writing) if name == "stdin" else (writing, reading)
        pipes[name] = os.fdopen(ours, "wb" if name == "stdin" else "rb", buffering=0 if name == "stdin" else -1)
    else:
        return stream if isinstance(stream, int) else stream.fileno()
    sent.callback(os.close, descriptor)
    return descriptor


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


def _read_all(name: str, pipe: IO[bytes], into: dict[str, bytes]) -> None:
    with pipe:
        into[name] = pipe.read()


def _write_all(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:
        while data:
            data = data[pipe.write(data) :]


def serve(address: str) -> list[str]:
    """Fork a process for each request. Returns in the forked one, with its arguments, once it is as a new process.

    Kill a command once its connection is closed, as when its caller was killed. Once standard input is closed, kill those that
    run, and exit.
    """
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(address)
        listening.listen(64)
        selector.register(listening, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        os.write(1, b"ready\n")
        while True:
            (key, _), *_ = selector.select()  # one at a time, since it may close the descriptors of the next
            if key.fileobj is listening:
                if (accepted := _fork(listening, selector)) is not None:
                    break
            elif key.fd == 0:
                for command in (each for each in selector.get_map().values() if isinstance(each.data, tuple)):
                    signal.pidfd_send_signal(command.fd, signal.SIGKILL)
                os._exit(0)
            elif isinstance(key.data, int):
                selector.unregister(key.fileobj)
                signal.pidfd_send_signal(key.data, signal.SIGKILL)
            else:
                _report_end(key, selector)
    request, descriptors = accepted
    _take_over(request, descriptors)
    arguments: list[str] = request["arguments"]
    return arguments


def _fork(listening: socket.socket, selector: selectors.BaseSelector) -> tuple[dict[str, Any], list[int]] | None:
    """Accept a request and fork for it. Returns the request and its descriptors in the forked process, None in this one."""
    connection, _ = listening.accept()
    descriptors = socket.recv_fds(connection, 1, 4)[1]
    request = json.loads(connection.makefile().readline())
    if (pid := os.fork()) == 0:
        for other in (each for each in selector.get_map().values() if isinstance(each.data, tuple)):
            os.close(other.fd)
            other.data[1].close()
        connection.close()
        return request, descriptors
    for descriptor in descriptors:
        os.close(descriptor)
    pidfd = os.pidfd_open(pid)
    with contextlib.suppress(OSError):
        socket.send_fds(connection, [b"."], [pidfd])
        connection.sendall(b"%d\n" % pid)
    selector.register(pidfd, selectors.EVENT_READ, (pid, connection))
    selector.register(connection, selectors.EVENT_READ, pidfd)
    return None


def _report_end(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    """Send the exit code of a command to its caller."""
    pid, connection = key.data
    selector.unregister(key.fd)
    os.close(key.fd)
    if connection.fileno() in selector.get_map():
        selector.unregister(connection)
    _, status = os.waitpid(pid, 0)
    with connection, contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _take_over(request: dict[str, Any], descriptors: list[int]) -> None:
    """Give this forked process what the command has: directory, descriptors, environment, umask and session."""
    os.fchdir(descriptors.pop())
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 2)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()  # TZ may differ
    os.umask(request["umask"])
    if request["new_session"]:
        os.setsid()


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
    import aorch

    for module in pkgutil.walk_packages(aorch.__path__, "aorch."):
        if not module.name.startswith(NOT_PRELOADED):
            importlib.import_module(module.name)
    for name in ("aiohttp.web", "alembic.command", "jsonschema_rs", "platformdirs.unix"):
        importlib.import_module(name)
    from aorch.__main__ import main

    gc.collect()
    gc.freeze()  # what is imported stays shared between the processes
    sys.argv = ["aorch", *serve(sys.argv[1])]
    end(main)

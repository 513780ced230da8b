"""`aorch` commands in processes of their own that need no start of Python: each is a fork of one that has its imports done.

A start of Python and the imports take 0.15 to 0.5 s of CPU a command, a fork 10 ms. The forked process has the arguments, the
environment, the directory and the descriptors of the command, and ends as the interpreter ends.

A Python script can be such a fork too, which has the arguments `--script FILE`.

`python fork_server.py SOCKET` is that one process. `Prestarted` starts it and asks it for commands.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

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
        if self.returncode is None and _is_readable(self._connection, 0):
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process ends; returns its exit code."""
        if self.returncode is None:
            if not _is_readable(self._connection, timeout):
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
    """The process that is forked. With `shared`, a folder, it is a fork of one for all who share the folder."""

    def __init__(self, address: Path, environment: dict[str, str], shared: Path | None = None) -> None:
        self._address = address
        self._at_start = _read_at_start(environment)
        piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process: Forked | subprocess.Popen[bytes]
        if shared is None:
            self._process = _start_server(address, environment, **piped)
        else:
            self._process = _start(
                _of_all(shared, environment), ["--serve", str(address)], address.parent, environment, **piped
            )
        _await_ready(self._process)
        self.pid = self._process.pid

    @property
    def command(self) -> list[str]:
        """How a shell starts `aorch` as a fork of the process; its streams must be open."""
        return command_at(self._address)

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
        namespaces: tuple[str, ...] = (),
        user: int | None = None,
        **streams: Any,
    ) -> Forked:
        """Start `aorch` with `arguments` in `folder`; the streams are what they are for `subprocess.Popen`.

        `namespaces`: files in /proc, such as /proc/4711/ns/mnt, of namespaces that the command enters first. `user`: the
        id of the user that it becomes, who needs no access to the files of the package.
        """
        more = {"start_new_session": start_new_session, "namespaces": namespaces, "user": user}
        return _start(self._address, arguments, folder, env, **more, **streams)

    def run(
        self,
        arguments: list[str],
        given: bytes | None,
        folder: Path | int,
        env: dict[str, str],
        timeout: float,
        **options: Any,
    ) -> tuple[int, bytes, bytes]:
        """Run `aorch` with `arguments` in `folder` until it ends; `options` are those of `start`.

        Returns its exit code (negative: the signal that killed it), stdout and stderr.
        """
        pipe = subprocess.PIPE
        process = self.start(arguments, folder, env, stdin=pipe, stdout=pipe, stderr=pipe, **options)
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


def _start(
    address: Path,
    arguments: list[str],
    folder: Path | int,
    env: dict[str, str],
    *,
    start_new_session: bool = False,
    namespaces: tuple[str, ...] = (),
    user: int | None = None,
    **streams: Any,
) -> Forked:
    """See `Prestarted.start`."""
    request = {
        "arguments": arguments,
        "env": env,
        "umask": _umask(),
        "new_session": start_new_session,
        "namespaces": namespaces,
        "user": user,
    }
    pipes: dict[str, IO[bytes]] = {}
    with contextlib.ExitStack() as sent:
        descriptors = [_open_stream(name, streams.get(name), pipes, sent) for name in STREAMS]
        descriptors.append(os.dup(folder) if isinstance(folder, int) else os.open(folder, os.O_DIRECTORY))
        sent.callback(os.close, descriptors[-1])
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(address))
        socket.send_fds(connection, [b"."], descriptors)
        connection.sendall(json.dumps(request).encode() + b"\n")
    return Forked(arguments, connection, pipes)


def _start_server(address: Path, environment: dict[str, str], *more: str, **streams: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(address), *more]
    return subprocess.Popen(command, cwd=address.parent, env=environment, **streams)


def _await_ready(process: "Forked | subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


def _of_all(folder: Path, environment: dict[str, str]) -> Path:
    """The address of the process that is forked for all who share `folder`. It ends after the last of them has ended."""
    address, users = folder / "commands", folder / "commands.users"
    with (folder / "commands.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(users)
        try:
            os.open(users, os.O_WRONLY | os.O_NONBLOCK)  # stays open until this process ends
        except OSError:  # nobody reads it: there is no such process yet
            address.unlink(missing_ok=True)
            reading = os.open(users, os.O_RDONLY | os.O_NONBLOCK)
            os.open(users, os.O_WRONLY)
            with _start_server(address, environment, "--detached", stdin=reading, stdout=subprocess.PIPE) as server:
                os.close(reading)
                _await_ready(server)
    return address


def command_at(address: Path, script: Path | None = None) -> list[str]:
    """How another program starts `aorch`, or `script`, as a fork of the process at `address`."""
    command = [sys.executable, "-S", "-E", str(Path(__file__).with_name("forked_aorch.py")), str(address)]
    return command if script is None else [*command, "--script", str(script)]


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


def _is_readable(connection: socket.socket, timeout_s: float | None) -> bool:
    """Whether there is something to read within that time. `select.select` takes no descriptor above 1023."""
    readable = select.poll()
    readable.register(connection, select.POLLIN)
    return bool(readable.poll(None if timeout_s is None else timeout_s * 1000))


def _read_all(name: str, pipe: IO[bytes], into: dict[str, bytes]) -> None:
    with pipe:
        into[name] = pipe.read()


def _write_all(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:
        while data:
            data = data[pipe.write(data) :]

"""One run of a program in its own process group: start it, write its input, collect its output, kill what is left."""

import asyncio
import contextlib
import errno
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from aorch.agents.child_watcher import wait_by_pidfd
from aorch.errors import AgentNotStarted

GRACE_S = 2.0
"""Seconds between TERM and KILL."""
DRAIN_S = 0.5
"""Seconds that standard output may stay open, held by a child, after the program itself has ended."""
STDERR_TAIL = 4096
CHUNK = 64 * 1024
LACKS = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
"""Errors if descriptors, processes or memory run out: a later start may succeed."""
SPARE = 16
"""Descriptors that are reserved, so that no program's pipes use them; or an eighth of the limit if that is less."""
LACK_HINT = "Raise the limits (ulimit -n, ulimit -u), or run fewer tasks at once."


class ProgramRun:
    """The output of a program so far. `exit_code` (-N if signal N killed it) is None until it has ended by itself.

    `stderr` is only the last STDERR_TAIL bytes. `too_long`: standard output was longer than the limit.
    """

    def __init__(self) -> None:
        self.stdout, self.stderr = bytearray(), bytearray()
        self.exit_code: int | None = None
        self.too_long = False


async def run(
    run: ProgramRun, program: str, arguments: list[str], *, cwd: Path, env: dict[str, str], given: bytes, limit: int
) -> None:
    """Run the file `program` and fill `run`. A cancelled caller ends the whole process group: TERM, then KILL.

    `arguments` begin with the name of the program. Raises AgentNotStarted for lack of descriptors, processes or memory, and
    OSError or ValueError if the program cannot be started at all.
    """
    _leave_descriptors(arguments[0])
    wait_by_pidfd()
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(
            ProcessStreams, program, *arguments[1:], cwd=cwd, env=env, start_new_session=True
        )
    )
    async with nothing_left_of(starting):
        try:
            transport, process = await asyncio.shield(starting)
        except OSError as error:
            if error.errno in LACKS:
                raise _lack(arguments[0], os.strerror(error.errno)) from error
            raise
        await _converse(run, transport, process, given, limit)


async def _converse(
    run: ProgramRun, transport: asyncio.SubprocessTransport, process: "ProcessStreams", given: bytes, limit: int
) -> None:
    assert process.stdin
    assert process.stdout
    assert process.stderr
    feeding = asyncio.create_task(_feed(process.stdin, given))
    errors = asyncio.create_task(_keep_tail(process.stderr, run.stderr))
    reading = asyncio.create_task(_read_up_to(process.stdout, run.stdout, limit))
    try:
        await asyncio.wait((reading, process.ended), return_when=asyncio.FIRST_COMPLETED)
        if reading.done() and not reading.result():
            run.too_long = True
            return
        await asyncio.wait((process.ended,))
        await asyncio.wait((reading, errors), timeout=DRAIN_S)
        run.too_long = reading.done() and not reading.result()
        run.exit_code = transport.get_returncode() or 0
    finally:
        for each in (feeding, errors, reading):
            each.cancel()
        await asyncio.gather(feeding, errors, reading, return_exceptions=True)


def _leave_descriptors(program: str) -> None:
    """Raise AgentNotStarted if the only free descriptors are those that the ledger and the service need."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.close(lowest)
    except OSError:
        lowest = limit
    if limit != resource.RLIM_INFINITY and lowest >= limit - min(SPARE, limit // 8):
        raise _lack(program, os.strerror(errno.EMFILE))


def _lack(program: str, reason: str) -> AgentNotStarted:
    return AgentNotStarted(f"{program} cannot be started now: {reason}", LACK_HINT)


class ProcessStreams(asyncio.subprocess.SubprocessStreamProtocol):
    """The streams of a process, and `ended`, which is done once the process has ended.

    `asyncio.subprocess.Process.wait` (up to CPython 3.13) also waits for the pipes, which a child may hold open.
    """

    def __init__(self, limit: int = CHUNK) -> None:
        """`limit`: how many bytes of output may wait to be read."""
        loop = asyncio.get_running_loop()
        super().__init__(limit=limit, loop=loop)
        self.ended: asyncio.Future[None] = loop.create_future()

    def process_exited(self) -> None:
        """The event loop calls this when the process has ended."""
        super().process_exited()
        self.ended.set_result(None)


@contextlib.asynccontextmanager
async def nothing_left_of(
    starting: asyncio.Future[tuple[asyncio.SubprocessTransport, ProcessStreams]],
) -> AsyncIterator[None]:
    """End the process group when the block ends for any reason, also if it is cancelled twice or while the program starts."""
    try:
        yield
    finally:
        await asyncio.wait((starting,))
        if starting.exception() is None:
            await _end_group(*starting.result())


async def _end_group(transport: asyncio.SubprocessTransport, process: ProcessStreams) -> None:
    group = transport.get_pid()
    try:
        if not process.ended.done():
            _signal_group(group, signal.SIGTERM)
            await asyncio.wait((process.ended,), timeout=GRACE_S)
    finally:
        _signal_group(group, signal.SIGKILL)
        transport.close()
        await asyncio.wait((process.ended,))


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _feed(stdin: asyncio.StreamWriter, given: bytes) -> None:
    """Write its whole input. Does not wait until the pipe is closed: a cancelled `wait_closed` would cancel the future that the
    event loop sets at that moment.
    """
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a program need not read its input
        stdin.write(given)
        await stdin.drain()
        stdin.close()


async def _read_up_to(stdout: asyncio.StreamReader, output: bytearray, limit: int) -> bool:
    """Collect all output; stop and return False as soon as it is longer than `limit` bytes."""
    while chunk := await stdout.read(CHUNK):
        if len(output) + len(chunk) > limit:
            return False
        output += chunk
    return True


async def _keep_tail(stderr: asyncio.StreamReader, tail: bytearray) -> None:
    while chunk := await stderr.read(CHUNK):
        tail += chunk
        del tail[:-STDERR_TAIL]

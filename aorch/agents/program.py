"""The command agent: any program, in any language, as an agent.

The program reads the task as one JSON document on its standard input (or the text that `stdin` makes of the parameters) and
answers on its standard output. Exit code 0 (or one of `ok_exit_codes`) is success; anything else is failure, with the end of
standard error as the reason. Either way the answer has the output, the exit code and the end of standard error.
"""

import asyncio
import contextlib
import errno
import functools
import os
import re
import resource
import shlex
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aorch import jsonio
from aorch.agents.base import Agent, AgentCapability, CutOff
from aorch.agents.child_watcher import wait_by_pidfd
from aorch.config import config_file
from aorch.config.settings import AgentConfig, Config, program_environment, unset
from aorch.errors import AgentFailed, AgentNotStarted, InvalidJSON, ParametersInvalid, UsageError

GRACE_S = 2.0
"""How long a program that was told to end (TERM) has before it is ended (KILL)."""
DRAIN_S = 0.5
"""How long standard output may stay open, held by a child, after the program itself ended."""
STDERR_TAIL = 4096
KEPT = 64 * 1024
"""How much is kept of an output that passed its limit, from its beginning."""
LACKS = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
"""What starting a program fails with when descriptors, processes or memory are short: it may work a moment later."""
SPARE = 16
"""Descriptors that no program's pipes may take, or an eighth of the limit if that is less."""
LACK_HINT = "Raise the limits (ulimit -n, ulimit -u), or run fewer tasks at once."
CHUNK = 64 * 1024

_PLACE = re.compile(r"\{\{(\$?\w[\w.-]*(?:\|\w+)?)\}\}|\{(\w[\w.-]*)(?:\|(\w+))?\}|\{\$(\w+)\}")
ENCODINGS: dict[str, Callable[[Any], str]] = {
    "json": jsonio.encode,
    "url": lambda value: quote(_plain(value), safe=""),
}
"""What may stand behind the name in a placeholder, as in `{name|url}`: RFC 8259, and RFC 3986 (every reserved character)."""


class CommandAgent(Agent):
    """Runs a program for each task, without a shell, in a process group of its own."""

    kind = "command"

    def __init__(self, agent_id: str, declared: AgentConfig, config: Config) -> None:
        super().__init__(agent_id, declared.name or agent_id, declared.description or " ".join(declared.command or []))
        self.endpoint = shlex.join(declared.command or [])
        self.declared = declared
        self.config = config
        self.timeout_s = declared.timeout_s
        self.concurrency = declared.concurrency or max(4, 2 * (os.cpu_count() or 1))
        self._fault = _fault_of_places(self._command, declared.stdin)
        self._variables_of_stdin = [place[4] for place in _PLACE.finditer(declared.stdin or "") if place[4]]

    @property
    def _command(self) -> list[str]:
        return self.declared.command or []

    def get_capabilities(self) -> list[AgentCapability]:
        """The capabilities that the configuration declares."""
        declared = self.declared.capabilities.items()
        return [AgentCapability(name, c.description, c.parameters, c.idempotent) for name, c in declared]

    def variables(self) -> list[str]:
        """The names in `env`."""
        return list(self.declared.env)

    def problem(self) -> str | None:
        """Names the program, its interpreter, the folder or the variable that is not there."""
        try:
            folder = self._folder()
        except UsageError as error:  # nobody's home, or the working directory was removed
            return str(error)
        if not os.path.isdir(folder):  # noqa: PTH112  Path.is_dir raises for a folder that may not be searched
            return f"its working directory {folder} is not there"
        program = self._command[0]
        added = self.declared.env
        if missing := unset(added):
            return f"its env refers to {', '.join(missing)}, which is not set"
        if self._fault:
            return self._fault
        if self._variables_of_stdin:
            environment = program_environment(self.config, self.declared, "", "")
            if missing := [name for name in self._variables_of_stdin if name not in environment]:
                return f"its stdin refers to {', '.join(missing)}, which is not set"
        if "{" in program:
            return None
        path = program_environment(self.config, self.declared, "", "")["PATH"] if "PATH" in added else None
        found = self._find(program, os.fspath(self._base()), path)
        if found is None:
            return f"its program {program!r} is not on PATH and not a file that can be run"
        return _script_problem(found)

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run the program for `task`; a cancelled task ends the whole process group, TERM first, then KILL."""
        parameters, template = task["parameters"], self.declared.stdin
        environment = program_environment(self.config, self.declared, task["task_id"], task["session_id"])
        arguments = [fill(argument, parameters) for argument in self._command]
        given = jsonio.encode(task) if template is None else fill(template, parameters, environment)
        program = self._find(arguments[0], os.fspath(self._base()), environment.get("PATH")) or arguments[0]
        _leave_descriptors(arguments[0])
        wait_by_pidfd()
        starting = asyncio.ensure_future(
            asyncio.get_running_loop().subprocess_exec(
                _Process, program, *arguments[1:], cwd=self._folder(), env=environment, start_new_session=True
            )
        )
        async with _nothing_left_of(starting):
            try:
                transport, process = await asyncio.shield(starting)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno in LACKS:
                    raise AgentNotStarted(
                        f"{arguments[0]} cannot be started now: {error.strerror}", LACK_HINT
                    ) from error
                return _failure(f"{arguments[0]} could not be started: {error}")
            return await self._converse(transport, process, given)

    async def _converse(
        self, transport: asyncio.SubprocessTransport, process: "_Process", given: str
    ) -> dict[str, Any]:
        limit = self.declared.max_output_bytes
        assert process.stdin
        assert process.stdout
        assert process.stderr
        output, tail = bytearray(), bytearray()
        feeding = asyncio.create_task(_feed(process.stdin, given.encode()))
        errors = asyncio.create_task(_keep_tail(process.stderr, tail))
        reading = asyncio.create_task(_read_up_to(process.stdout, output, limit))
        tasks = (feeding, errors, reading)
        try:
            await asyncio.wait((reading, process.ended), return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and not reading.result():
                return _failure(
                    f"its output passed the limit of {limit:,} bytes (max_output_bytes); the program was ended",
                    output[:KEPT],
                )
            await asyncio.wait((process.ended,))
            await asyncio.wait((reading, errors), timeout=DRAIN_S)
            if reading.done() and not reading.result():
                return _failure(f"its output passed the limit of {limit:,} bytes (max_output_bytes)", output[:KEPT])
            return _answer(transport.get_returncode() or 0, output, tail, self.declared.ok_exit_codes)
        except asyncio.CancelledError:
            said = jsonio.storable_text(tail.decode("utf-8", "replace"))
            raise CutOff({**(_said(output) if output else {}), "stderr": said}) from None
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _folder(self) -> Path:
        return config_file.absolute(self.declared.cwd or ".", "cwd", self._base() if self.declared.cwd else None)

    def _base(self) -> Path:
        """What a relative path in the configuration is relative to."""
        return self.config.file.parent if self.config.file else config_file.working_folder()

    @staticmethod
    def _find(program: str, folder: str, path: str | None = None) -> str | None:
        if os.sep in program:
            program = os.path.join(folder, os.path.expanduser(program))  # noqa: PTH111, PTH118  a program's name, not yet a path
        return shutil.which(program, path=path)


def _leave_descriptors(program: str) -> None:
    """Raise AgentNotStarted if only those descriptors are free that the ledger and the service need."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.close(lowest)
    except OSError:
        lowest = limit
    if limit != resource.RLIM_INFINITY and lowest >= limit - min(SPARE, limit // 8):
        raise AgentNotStarted(f"{program} cannot be started now: {os.strerror(errno.EMFILE)}", LACK_HINT)


def _script_problem(program: str) -> str | None:
    """Why the kernel cannot run that script; it would only say that there is no such file."""
    try:
        line = _first_line(program, Path(program).stat().st_mtime_ns)
    except OSError:  # it may be run without being read
        return None
    words = line.removeprefix(b"#!").split(maxsplit=1)
    if not (line.startswith(b"#!") and words):
        return None
    if line.endswith(b"\r\n"):
        return f"the #! line of its program {program!r} ends in a carriage return (save it with Unix line endings)"
    interpreter = os.fsdecode(words[0])
    if interpreter.startswith("/") and not Path(interpreter).exists():
        return f"the interpreter {interpreter!r} of its program {program!r} does not exist"
    return None


@functools.lru_cache(maxsize=1024)
def _first_line(program: str, _modified_ns: int) -> bytes:
    with Path(program).open("rb") as file:
        return file.readline(256)


class _Process(asyncio.subprocess.SubprocessStreamProtocol):
    """The streams of a process, and `ended`, which is done once the process is.

    `asyncio.subprocess.Process.wait` (up to CPython 3.13) waits for the pipes as well, which a child may hold open.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(limit=CHUNK, loop=loop)
        self.ended: asyncio.Future[None] = loop.create_future()

    def process_exited(self) -> None:
        """Called by the loop."""
        super().process_exited()
        self.ended.set_result(None)


def fill(template: str, parameters: dict[str, Any], environment: dict[str, str] | None = None) -> str:
    """`template` with each `{name}` replaced by that parameter, `{$NAME}` by that variable of `environment`, and `{{name}}`
    by the literal `{name}`.

    A string stands as it is, everything else as JSON; `{name|json}` and `{name|url}` encode both. Raises ParametersInvalid
    for a parameter that was not given, and AgentFailed for a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        literal, name, encoding, variable = match.groups()
        if literal:
            return f"{{{literal}}}"
        if variable:
            if variable not in (environment or {}):
                raise AgentFailed(f"its stdin refers to {{${variable}}}, which is not set")
            return (environment or {})[variable]
        if name not in parameters:
            raise ParametersInvalid(f"parameter {name!r} is missing: the agent's command needs it", f"Add {name}=….")
        return ENCODINGS.get(encoding, _plain)(parameters[name])

    return _PLACE.sub(value, template)


def _fault_of_places(command: list[str], stdin: str | None) -> str | None:
    """What is wrong with the placeholders, whatever the parameters are."""
    in_command = [place for argument in command for place in _PLACE.finditer(argument)]
    for place in (*in_command, *_PLACE.finditer(stdin or "")):
        if place[3] and place[3] not in ENCODINGS:
            known = " and ".join(f"{{NAME|{name}}}" for name in ENCODINGS)
            return f"{place[0]} has an unknown encoding (there are {known})"
    for place in in_command:
        if place[4]:
            return f"{place[0]} is in its command line, which every user can read (give it in `stdin` or `env`)"
    return None


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else jsonio.encode(value)


@contextlib.asynccontextmanager
async def _nothing_left_of(
    starting: asyncio.Future[tuple[asyncio.SubprocessTransport, _Process]],
) -> AsyncIterator[None]:
    """End the process group, however the block is left: while the program starts as well, and cancelled twice."""
    try:
        yield
    finally:
        await asyncio.wait((starting,))
        if starting.exception() is None:
            await _end_group(*starting.result())


async def _end_group(transport: asyncio.SubprocessTransport, process: _Process) -> None:
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
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a program need not read its input
        stdin.write(given)
        await stdin.drain()
        stdin.close()
        await stdin.wait_closed()


async def _read_up_to(stdout: asyncio.StreamReader, output: bytearray, limit: int) -> bool:
    """Collect what comes until the end; False as soon as it is more than `limit` bytes."""
    while chunk := await stdout.read(CHUNK):
        if len(output) + len(chunk) > limit:
            return False
        output += chunk
    return True


async def _keep_tail(stderr: asyncio.StreamReader, tail: bytearray) -> None:
    while chunk := await stderr.read(CHUNK):
        tail += chunk
        del tail[:-STDERR_TAIL]


def _answer(code: int, output: bytearray, tail: bytearray, ok: tuple[int, ...]) -> dict[str, Any]:
    """What the program said, and how it ended; a program that signal N ended has the exit code 128 + N, as in a shell."""
    said = jsonio.storable_text(tail.decode("utf-8", "replace"))
    ended = {"exit_code": code if code >= 0 else 128 - code, "stderr": said}
    if code in ok:
        return {"success": True, **_said(output), **ended}
    how = f"exit code {code}" if code >= 0 else f"ended by signal {_signal_name(-code)}"
    return {**_failure(f"{how}: {said.strip()}" if said.strip() else how, output), **ended}


def _said(output: bytearray) -> dict[str, Any]:
    """`data`: the JSON object that `output` is, else its text. Nearly such an object is an error, and kept as `stdout`."""
    text = output.decode("utf-8", "replace")
    document = text.lstrip("\ufeff \t\r\n")
    if not document.startswith("{"):
        return {"data": {"text": text}}
    try:
        return {"data": jsonio.decode(document)}
    except InvalidJSON as error:
        if not jsonio.is_nearly_object(document):
            return {"data": {"text": text}}
        wrong = f"its output is not valid JSON (RFC 8259): {str(error).removeprefix('not JSON: ')}"
        return {"success": False, "error": wrong, "stdout": jsonio.storable_text(text)}


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)  # real-time ones have no name


def _failure(error: str, output: bytearray | None = None) -> dict[str, Any]:
    """`output` is what the program had printed, which is kept."""
    said = _said(output) if output else {}
    return {**said, "success": False, "error": f"{error}; {said['error']}" if "error" in said else error}

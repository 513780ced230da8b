"""The program agent: runs any program, in any language, as an agent.

The program reads the task as one JSON document on its standard input (or the text of the template `stdin`) and
writes its result to standard output. Exit code 0 (or one of `ok_exit_codes`) is success; any other is a failure, with the end of
standard error as the reason. In both cases the answer has the output, the exit code and the end of standard error.
"""

import asyncio
import functools
import os
import shlex
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from aorch import jsonio
from aorch.agents import program_process
from aorch.agents.agent_kind import AddOption, AddRequest, AgentConfig, AgentKind, CapabilityConfig, check_positive
from aorch.agents.base import Agent, AgentCapability, AgentTask, CutOff
from aorch.agents.program_process import ProgramRun
from aorch.config import config_file, environment, templates
from aorch.config.settings import Config
from aorch.errors import AgentFailed, ConfigInvalid, InvalidJSON, ParametersInvalid, ReferenceInvalid, UsageError

KEPT = 64 * 1024
"""Bytes that are kept, from the beginning, of an output that exceeds the limit."""


class ProgramConfig(AgentConfig, frozen=True):
    """`[agents.ID]` with `command`: a program."""

    command: list[str]
    capabilities: dict[str, CapabilityConfig] = msgspec.field(default_factory=dict)
    stdin: str | None = None
    cwd: str | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict)
    max_output_bytes: int = 10 * 1024 * 1024
    ok_exit_codes: tuple[Annotated[int, msgspec.Meta(ge=0, le=255)], ...] = (0,)


class ProgramAgent(Agent):
    """Runs a program for each task, without a shell, in its own process group."""

    kind = "command"

    def __init__(
        self, agent_id: str, table: ProgramConfig, config: Config, secrets: frozenset[str] = frozenset()
    ) -> None:
        """`secrets` names the environment variables that the program does not inherit, except those that it names itself."""
        super().__init__(agent_id, table.name or agent_id, table.description or " ".join(table.command))
        self.endpoint = shlex.join(table.command)
        self.table = table
        self.config = config
        self.concurrency = table.concurrency or max(4, 2 * (os.cpu_count() or 1))
        self._fault = _fault_of_templates(table.command, table.stdin)
        self._needed = _parameters_in([*table.command, table.stdin])
        self._variables = _variables_in(table.stdin)
        self._hidden = secrets - set(self._variables)
        named = [*environment.variables_of(table.env.values()), *self._variables]
        self.secret_env = [*KIND.secrets(table), *(name for name in named if name in secrets)]

    def get_capabilities(self) -> list[AgentCapability]:
        """The capabilities that the configuration declares."""
        return KIND.capabilities(self.table)

    def variables(self) -> list[str]:
        """The names in `env`."""
        return list(self.table.env)

    def problem(self) -> str | None:
        """Names the program, its interpreter, the directory or the variable that does not exist."""
        try:
            folder = self._folder()
        except UsageError as error:  # the home directory is unknown, or the working directory was removed
            return str(error)
        if not os.path.isdir(folder):  # noqa: PTH112  Path.is_dir raises for a folder that may not be searched
            return f"its working directory {folder} does not exist"
        if missing := environment.unset(self.table.env.values()):
            return f"its env refers to {', '.join(missing)}, which is not set"
        if self._fault:
            return self._fault
        added = self._environment("", "")
        if missing := [name for name in self._variables if name not in added]:
            return f"its stdin refers to {', '.join(missing)}, which is not set"
        program = self.table.command[0]
        if templates.is_template(program):
            return None
        found = self._find(program, added.get("PATH"))
        if found is None:
            return f"its program {program!r} is not on PATH and not an executable file"
        return _script_problem(found)

    def preview(self, task: AgentTask) -> dict[str, str]:
        """The command line as a shell would take it, and its standard input if `stdin` is set. Raises ParametersInvalid."""
        self._require(task["parameters"])
        arguments = [templates.fill_text(argument, task["parameters"]) for argument in self.table.command]
        if self.table.stdin is None:
            return {"command": shlex.join(arguments)}
        hidden = dict.fromkeys(self._variables, "…")
        return {
            "command": shlex.join(arguments),
            "stdin": templates.fill_text(self.table.stdin, task["parameters"], hidden),
        }

    def _require(self, parameters: dict[str, Any]) -> None:
        """Raise ParametersInvalid, which names the first parameter of the templates that is missing."""
        for name in self._needed:
            if name not in parameters:
                raise ParametersInvalid(
                    f"parameter {name!r} is missing: the agent's command needs it", f"Add {name}=…."
                )

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run the program for `task`."""
        parameters, template, limit = task["parameters"], self.table.stdin, self.table.max_output_bytes
        env = self._environment(task["task_id"], task["session_id"])
        self._require(parameters)
        if missing := [name for name in self._variables if name not in env]:
            raise AgentFailed(f"its stdin refers to {', '.join(missing)}, which is not set")
        arguments = [templates.fill_text(argument, parameters) for argument in self.table.command]
        given = jsonio.encode(task) if template is None else templates.fill_text(template, parameters, env)
        program = self._find(arguments[0], env.get("PATH")) or arguments[0]
        run = ProgramRun()
        try:
            await program_process.run(
                run, program, arguments, cwd=self._folder(), env=env, given=given.encode(), limit=limit
            )
        except (OSError, ValueError) as error:
            raise AgentFailed(f"{arguments[0]} could not be started: {error}", delivered=False) from error
        except asyncio.CancelledError:
            said = _parsed(run.stdout) if run.stdout else {}
            raise CutOff({**said, "stderr": _text(run.stderr)}) from None
        if run.too_long:
            ended = "; the program was killed" if run.exit_code is None else ""
            return _failure(
                f"the output of the program is longer than {limit:,} bytes (max_output_bytes){ended}", run.stdout[:KEPT]
            )
        return _answer(run, self.table.ok_exit_codes)

    def _environment(self, task_id: str, session_id: str) -> dict[str, str]:
        ledger = None if self.config.at_server else self.config.ledger
        exchange = environment.of_exchange(ledger, task_id, session_id)
        return environment.of_program(self.table.env, self._hidden, exchange)

    def _folder(self) -> Path:
        return config_file.absolute(self.table.cwd or ".", "cwd", self._base() if self.table.cwd else None)

    def _base(self) -> Path:
        """The directory to which relative paths in the configuration are relative."""
        return self.config.file.parent if self.config.file else config_file.working_folder()

    def _find(self, program: str, path: str | None) -> str | None:
        if os.sep in program:
            program = os.path.join(self._base(), os.path.expanduser(program))  # noqa: PTH111, PTH118  a program's name, not yet a path
        return shutil.which(program, path=path)


class ProgramKind(AgentKind[ProgramConfig]):
    """Programs: `command` in aorch.toml, `-- PROGRAM ARGUMENT...` of `aorch agents add`."""

    key, title = "command", "a program"
    config = ProgramConfig
    example = "aorch agents add greet --capability greet -- echo hello {name}"
    options = (
        AddOption(
            "--stdin", "TEXT", "Text for the program's standard input, such as '{text}' (default: the task as JSON)."
        ),
        AddOption("--cwd", "DIRECTORY", "Working directory of the program (default: the caller's)."),
        AddOption(
            "--env",
            "NAME=VALUE",
            "Environment variable for the program; $NAME in VALUE is expanded; repeatable.",
            pairs=True,
        ),
        AddOption("--ok-exit-code", "CODE", "Another exit code that means success; repeatable.", int, multiple=True),
    )

    def make(self, agent_id: str, table: ProgramConfig, config: Config, secrets: frozenset[str]) -> ProgramAgent:
        """The program agent of that table."""
        return ProgramAgent(agent_id, table, config, secrets)

    def is_requested(self, request: AddRequest) -> bool:
        """Words after `--` are a program, unless an option that selects another kind takes them."""
        return bool(request.words)

    def table_of(self, request: AddRequest) -> tuple[str, dict[str, Any]]:
        """Give the ID, the capability and the command of the program."""
        self.reject(request, {})
        needed = {"an ID": request.agent_id, "--capability": request.capabilities}
        if missing := [what for what, given in needed.items() if not given]:
            raise UsageError(f"the agent needs {' and '.join(missing)}", f"Example: `{self.example}`")
        options = dict(request.options)
        if codes := options.pop("ok_exit_code", None):
            options["ok_exit_codes"] = sorted({0, *codes})
        table = {"command": request.words, **request.common, **options, "capabilities": request.capabilities}
        return request.agent_id, table

    def check(self, where: str, table: ProgramConfig) -> None:
        """Check that `command` is not empty and that there is a capability."""
        if not (table.command and table.capabilities):
            key = where.rpartition(": ")[2]
            raise ConfigInvalid(
                f"{where} needs a program in `command` and at least one capability",
                f'Add a table [{key}.capabilities.NAME], or the program to `command = ["…"]`.',
            )
        if not table.ok_exit_codes:
            raise ConfigInvalid(
                f"{where}.ok_exit_codes is empty", "List the exit codes that mean success, such as [0, 1]."
            )
        check_positive(where, table, "max_output_bytes")

    def capabilities(self, table: ProgramConfig) -> list[AgentCapability]:
        """All capabilities of the table."""
        return [declared.named(name) for name, declared in table.capabilities.items()]

    def secrets(self, table: ProgramConfig) -> Iterable[str]:
        """The variables in `env` and `stdin` that seem to hold secrets."""
        yield from environment.secret_variables(table.env)
        yield from filter(environment.is_secret_name, _variables_in(table.stdin))


KIND = ProgramKind()


def _variables_in(stdin: str | None) -> list[str]:
    return [reference.variable for reference in templates.references(stdin) if reference.variable]


def _script_problem(program: str) -> str | None:
    """Why the kernel cannot run that script; its own error would only be "no such file"."""
    try:
        line = _first_line(program, Path(program).stat().st_mtime_ns)
    except OSError:  # a program need not be readable
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


def _fault_of_templates(command: list[str], stdin: str | None) -> str | None:
    """Errors in the templates that do not depend on the parameters."""
    try:
        templates.check_encodings([*command, stdin])
    except ReferenceInvalid as error:
        return str(error)
    for reference in templates.references(command):
        if reference.variable:
            return f"{reference.text} is in its command line, which every user can read (use `stdin` or `env` instead)"
    return None


def _parameters_in(template: Any) -> list[str]:
    return [reference.path[0] for reference in templates.references(template) if reference.path]


def _answer(run: ProgramRun, ok: tuple[int, ...]) -> dict[str, Any]:
    """The program's output and exit code; a program that signal N killed has the exit code 128 + N, as in a shell."""
    code, stderr = run.exit_code or 0, _text(run.stderr)
    ended = {"exit_code": code if code >= 0 else 128 - code, "stderr": stderr}
    if code in ok:
        return {"success": True, **_parsed(run.stdout), **ended}
    how = f"exit code {code}" if code >= 0 else f"the program was killed by signal {_signal_name(-code)}"
    return {**_failure(f"{how}: {stderr.strip()}" if stderr.strip() else how, run.stdout), **ended}


def _parsed(output: bytearray) -> dict[str, Any]:
    """`data` is `output` as a JSON object, otherwise as text.

    Text that is almost a JSON object is an error, and is kept as `stdout`.
    """
    text = output.decode("utf-8", "replace")
    document = text.lstrip("\ufeff \t\r\n")
    if not document.startswith("{"):
        return {"data": {"text": text}}
    try:
        return {"data": jsonio.decode(document)}
    except InvalidJSON as error:
        if not jsonio.is_nearly_object(document):
            return {"data": {"text": text}}
        wrong = f"the output of the program is not valid JSON (RFC 8259): {str(error).removeprefix('not JSON: ')}"
        return {"success": False, "error": wrong, "stdout": jsonio.storable_text(text)}


def _text(data: bytearray) -> str:
    return jsonio.storable_text(data.decode("utf-8", "replace"))


def _signal_name(number: int) -> str:
    return (
        signal.Signals(number).name if number in set(signal.Signals) else str(number)
    )  # real-time signals have no name


def _failure(error: str, output: bytearray | None = None) -> dict[str, Any]:
    """A failure that keeps `output`, which the program had printed."""
    parsed = _parsed(output) if output else {}
    return {**parsed, "success": False, "error": f"{error}; {parsed['error']}" if "error" in parsed else error}

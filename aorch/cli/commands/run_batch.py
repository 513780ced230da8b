"""`aorch run --batch` and `aorch run --retry-failed`: many tasks, each with one line of result."""

import os
import signal
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from aorch.cli.options import IS_CREATED, MOST_PARALLEL, complete_sessions, warn_of_missing
from aorch.cli.streams import set_aside, standard_input
from aorch.config import config_file
from aorch.process.signals import cancel_on_signals, set_handler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aorch.batch.batch_history import Earlier
    from aorch.batch.batch_line import Line
    from aorch.batch.batch_runner import Tally
    from aorch.cli.render.batch_results import ResultsOutput
    from aorch.config.settings import Config
    from aorch.orchestrator import Orchestrator

STDIN = "-"
PANEL = "Many tasks"
PARALLEL = 8

FileOption = Annotated[
    str | None,
    typer.Option(
        "--batch", metavar="FILE", help="Do each line of FILE (-: stdin), a JSON task.", rich_help_panel=PANEL
    ),
]
CsvOption = Annotated[
    bool, typer.Option("--csv", help="FILE is CSV with a header; each row is a task.", rich_help_panel=PANEL)
]
ParallelOption = Annotated[
    int | None,
    typer.Option(
        "--parallel",
        min=1,
        max=MOST_PARALLEL,
        metavar="N",
        help=f"So many at a time; {PARALLEL}.",
        rich_help_panel=PANEL,
    ),
]
OrderedOption = Annotated[
    bool, typer.Option("--ordered", help="Results in the order of the lines.", rich_help_panel=PANEL)
]
FailFastOption = Annotated[
    bool | None,
    typer.Option("--fail-fast/--keep-going", help="Begin nothing after a failure; else go on.", rich_help_panel=PANEL),
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Go on where this batch was broken off: done is done.", rich_help_panel=PANEL),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--batch-name", metavar="NAME", help="What --resume knows it by; else FILE's path.", rich_help_panel=PANEL
    ),
]
RetryOption = Annotated[
    str | None,
    typer.Option(
        "--retry-failed",
        metavar="SESSION",
        help="Do again what failed, was cancelled or interrupted there.",
        autocompletion=complete_sessions,
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True)
class Options:
    """Every option of `aorch run`, under its name there."""

    capability: str | None
    items: list[str] | None
    params: str | None
    session: str | None
    agent: str | None
    context: str | None
    timeout: float | None
    json: bool
    ledger: str | None
    batch: str | None
    csv: bool
    parallel: int | None
    ordered: bool
    fail_fast: bool | None
    resume: bool
    batch_name: str | None
    retry_failed: str | None
    detach: bool
    priority: int | None
    not_before: str | None
    expires: str | None
    webhook: str | None

    def check(self) -> bool:
        """Whether these ask for many tasks. Raises UsageError where they make no sense together."""
        from aorch.errors import UsageError

        of_batch = {"--csv": self.csv, "--resume": self.resume, "--batch-name": self.batch_name}
        of_many = {"--parallel": self.parallel, "--ordered": self.ordered, "--fail-fast": self.fail_fast}
        if self.batch is None:
            for option, given in (of_batch if self.retry_failed else of_batch | of_many).items():
                if given:
                    raise UsageError(f"{option} needs --batch", "Name the file of tasks: --batch FILE")
        self._check_queue()
        if self.retry_failed is not None:
            of_one = {
                "--batch": self.batch,
                "CAPABILITY": self.capability,
                "--params": self.params,
                "--session": self.session,
                "--agent": self.agent,
                "--context": self.context,
            }
            for option, given in of_one.items():
                if given is not None:
                    raise UsageError(f"--retry-failed asks for the same again, so {option} has no place beside it")
        elif self.csv and self.capability is None:
            raise UsageError("rows of CSV say no capability", "Name one: aorch run CAPABILITY --batch FILE --csv")
        elif self.batch is None and self.capability is None:
            raise UsageError("a capability is needed", "aorch run CAPABILITY key=value …; see `aorch agents list`.")
        if self.batch is not None and self.capability is not None and "=" in self.capability:
            raise UsageError(f"{self.capability!r} stands where the capability is", "aorch run CAPABILITY key=value …")
        return self.batch is not None or self.retry_failed is not None

    def _check_queue(self) -> None:
        from aorch.errors import UsageError

        of_queue = {
            "--priority": self.priority,
            "--not-before": self.not_before,
            "--expires": self.expires,
            "--webhook": self.webhook,
        }
        many = self.batch is not None or self.retry_failed is not None
        for option, given in (of_queue | {"--detach": self.detach}).items():
            if given and many:
                raise UsageError(f"{option} is for a single task", "Each line of a batch says its own priority.")
            if given and not self.detach:
                raise UsageError(f"{option} is for the queue", "Add --detach.")


def run(options: Options) -> int:
    """Do it; the exit code."""
    import asyncio

    from aorch.cli.render.batch_results import ResultsOutput
    from aorch.config import settings

    config = settings.load(options.ledger)
    if options.retry_failed is not None or options.resume:
        _refuse_missing(config.ledger)
    warn_of_missing(config.ledger, options.ledger, IS_CREATED)
    work: _Work = _Retry(options) if options.retry_failed is not None else _File(options)
    set_aside()  # not before: FILE may be /dev/stdin
    out = ResultsOutput()
    set_handler(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt can get lost while modules are imported
    return asyncio.run(_perform(config, options, work, out))


def _refuse_missing(ledger: Path) -> None:
    """Raise NotFound where `ledger`, in which something is to be gone on with, is not there; none is made then."""
    from aorch.errors import NotFound

    if not config_file.exists(ledger):
        raise NotFound(f"there is no ledger at {ledger}: nothing was begun in it", "Name another by --ledger.")


class _Work(Protocol):
    """Where the lines come from. `size` is their bytes, None where that is not known; `resumable` whether --resume finds it."""

    size: int | None
    resumable: bool

    async def begin(self, orchestrator: "Orchestrator") -> "tuple[Iterator[list[Line]], Earlier | None]":
        """The lines, and what earlier runs did of them."""
        ...


class _Retry:
    """What failed in a session."""

    size: int | None = None
    resumable = False

    def __init__(self, options: Options) -> None:
        self._session = options.retry_failed or ""
        self._timeout_s = options.timeout

    async def begin(self, orchestrator: "Orchestrator") -> "tuple[Iterator[list[Line]], Earlier | None]":
        from aorch.batch.batch_history import unfinished

        return unfinished(orchestrator.config.ledger, self._session, self._timeout_s), None


class _File:
    """The lines of a file, or of standard input."""

    def __init__(self, options: Options) -> None:
        """Raises NotFound and UsageError where it cannot be opened, and what the templates raise."""
        from aorch.cli.columns import Templates
        from aorch.cli.parameters_cli import parse_object, split
        from aorch.errors import UsageError

        file, items = options.batch or "", options.items or []
        read_here = [item for item in items if split(item)[1:] in (("=@", "-"), (":=@", "-"))]
        if file == STDIN and (read_here or "@-" in (options.params, options.context)):
            raise UsageError("standard input is the batch, so nothing else can be read from it")
        self._options = options
        self._templates = Templates(items)
        self._parameters = parse_object("--params", options.params) if options.params else {}
        self._context = parse_object("--context", options.context) if options.context else {}
        self._descriptor, self.size = _opened(file)
        self._name = options.batch_name or (_known_as(file) if self.size is not None else None)
        if options.resume and self._name is None:
            raise UsageError(
                f"{file} is no file that is there again; --resume cannot know it", "Add --batch-name NAME."
            )
        self.resumable = self._name is not None
        self._session = ""

    async def begin(self, orchestrator: "Orchestrator") -> "tuple[Iterator[list[Line]], Earlier | None]":
        from aorch.batch.batch_history import Earlier, begin, begun
        from aorch.engine.task import named_session
        from aorch.ids import new_id
        from aorch.ledger.batch_register import BatchReader

        options, config = self._options, orchestrator.config
        given = options.session if options.session is not None else config.session_id
        if given is not None:
            named_session(given)
        orchestrator.open()
        if self._name is None:
            self._session = given if given is not None else f"batch_{new_id()}"
            return self._lines(), None
        recorded = BatchReader(config.ledger)
        if options.resume:
            generation = begun(recorded, self._name)
        else:
            generation = await begin(orchestrator.executor.ledger, self._name)
        self._session = given if given is not None else f"batch_{generation}"
        earlier = Earlier(recorded, orchestrator.registry, generation)
        return (earlier.resumed if options.resume else earlier.known)(self._lines()), earlier

    def _lines(self) -> "Iterator[list[Line]]":
        from aorch import jsonio as json
        from aorch.cli.lines import Defaults, Lines

        options = self._options
        defaults = Defaults(
            options.capability,
            self._templates,
            self._session,
            self._parameters,
            self._context,
            options.agent,
            options.timeout,
            options.batch or STDIN,
        )
        decisive = [
            options.capability, options.items, self._parameters, self._context, options.agent, options.csv
        ]  # fmt: skip
        lines = Lines(defaults, json.encode_bytes(decisive))
        return (lines.from_csv if options.csv else lines.from_json)(self._descriptor)


def _known_as(file: str) -> str:
    """The name of a batch that nobody named: its file's path, with bytes that are not UTF-8 escaped."""
    return os.fsencode(config_file.absolute(file, "--batch")).decode("utf-8", "backslashreplace")


def _opened(file: str) -> tuple[int, int | None]:
    """A descriptor of `file`, and its size where it is one that is there again."""
    from aorch.errors import NotFound, UsageError

    if file == STDIN:
        return os.dup(standard_input().fileno()), None
    try:
        descriptor = os.open(config_file.absolute(file, "--batch"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"the file {file!r} of --batch is not there") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"the file {file!r} of --batch cannot be read: {error}") from error
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{file!r} of --batch is a folder")
    return descriptor, status.st_size if stat.S_ISREG(status.st_mode) else None


async def _perform(config: "Config", options: Options, work: _Work, out: "ResultsOutput") -> int:
    """Do all of it and say how it went; the exit code."""
    import asyncio

    from aorch.batch.batch_runner import Tally
    from aorch.cli.interrupts import end_now_if_threads_remain
    from aorch.cli.render.batch_results import next_steps, summary
    from aorch.cli.render.console import warn
    from aorch.errors import AorchError
    from aorch.logs import warn_of_agents
    from aorch.orchestrator import Orchestrator

    tally, ended, failure = Tally(), "broken off: ", None
    warn_of_agents(warn)
    async with Orchestrator(config=config) as orchestrator:
        performing = asyncio.ensure_future(_results(orchestrator, options, work, tally, out))
        ended_by = cancel_on_signals(performing)
        try:
            await performing
            ended = ""
        except asyncio.CancelledError:
            ended = "interrupted: "
        except AorchError as error:
            failure = error
            raise
        finally:
            if tally.lines or ended != "broken off: ":
                _say(summary(tally, ended))
            if failure is None:  # else that says what comes next
                _say(*next_steps(tally, ended, options.ledger, resumable=work.resumable))
    code = 128 + (ended_by or [signal.SIGINT])[0] if ended else tally.exit_code()
    end_now_if_threads_remain(code)
    return code


async def _results(
    orchestrator: "Orchestrator", options: Options, work: _Work, tally: "Tally", out: "ResultsOutput"
) -> None:
    import asyncio

    from aorch.batch.batch_runner import Batch
    from aorch.cli.hints import warning_of_undeclared
    from aorch.cli.render.batch_results import FLUSH_S, Results, progress
    from aorch.errors import AorchError

    orchestrator.open()
    chunks, earlier = await work.begin(orchestrator)
    async with progress(tally, work.size, out) as put:
        results = Results(put, is_file=out.is_file)
        batch = Batch(
            orchestrator.executor,
            results,
            tally,
            parallel=options.parallel or PARALLEL,
            ordered=options.ordered,
            fail_fast=bool(options.fail_fast),
            earlier=earlier,
        )
        try:
            await batch.run(warning_of_undeclared(orchestrator.registry, chunks))
        except BaseException as error:
            with suppress(Exception):  # why it was broken off is said, and this would only be said besides
                await asyncio.wait_for(results.flush(), FLUSH_S)
            if isinstance(error, AorchError):  # else a signal ended it, which gives up
                await _saved(orchestrator)
            raise
        finally:
            if earlier is not None:
                earlier.close()
        await results.flush()
    await _saved(orchestrator)


async def _saved(orchestrator: "Orchestrator") -> None:
    """Wait until the ledger has taken every answer. Raises LedgerError where a signal gives that up."""
    import asyncio

    from aorch.cli.render.console import warn
    from aorch.errors import LedgerError

    saver = orchestrator.executor.saver
    if not saver.unsaved:
        return
    warn(
        f"answers that are not in the ledger yet: {saver.unsaved}; aorch tries again until they are, and Ctrl-C gives up"
    )
    try:
        await saver.saved()
    except asyncio.CancelledError:
        raise LedgerError(f"gave up: {saver.unsaved} answers are not in the ledger") from None


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)

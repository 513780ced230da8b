"""The options of `aorch run`, and which of them can be combined."""

from typing import Annotated

import typer

from aorch.cli.options import DEFAULT_PARALLEL, MAX_PARALLEL, OptionGroup
from aorch.cli.shell_completion import complete_agents, complete_sessions
from aorch.errors import UsageError
from aorch.ledger import priorities

QUEUE_PANEL = "Queue options (with --detach)"
BATCH_PANEL = "Batch options"


class TaskOptions(OptionGroup):
    """How one task is run, or each task of a batch."""

    params: Annotated[
        str | None,
        typer.Option("--params", metavar="JSON", help="Parameters as a JSON object, @FILE or @- (standard input)."),
    ] = None
    session: Annotated[
        str | None,
        typer.Option(
            "--session",
            "-s",
            metavar="ID",
            help="Session of the task (default: a new session).",
            autocompletion=complete_sessions,
        ),
    ] = None
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            "-a",
            metavar="ID",
            help="Use only this agent (default: the best available agent).",
            autocompletion=complete_agents,
        ),
    ] = None
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require", metavar="LABEL=VALUE", help="Use only agents with this label (or version); repeatable."
        ),
    ] = None
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="JSON", help="Extra context for the agent: a JSON object, @FILE or @-."),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="Time limit in seconds (default: the limit of the agent)."),
    ] = None

    def check(self) -> None:
        """Raise UsageError for an empty session and a time limit that is not above 0."""
        if self.session == "":
            raise UsageError("--session must not be empty", "Name a session, or leave out --session for a new one.")
        if self.timeout is not None and self.timeout <= 0:
            raise UsageError(f"--timeout must be greater than 0, not {self.timeout:g}", "Give it in seconds.")


class DetachOptions(OptionGroup):
    """How a task waits in the queue."""

    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            "-d",
            help="Queue the task for a worker and print its contract ID.",
            rich_help_panel=QUEUE_PANEL,
        ),
    ] = False
    priority: Annotated[
        int | None,
        typer.Option(
            "--priority",
            min=priorities.HIGHEST,
            max=priorities.LOWEST,
            metavar="N",
            help="Queue priority, from 1 (runs first) to 5 (default: 3).",
            rich_help_panel=QUEUE_PANEL,
        ),
    ] = None
    not_before: Annotated[
        str | None,
        typer.Option(
            "--not-before",
            metavar="TIME",
            help="Start the task at TIME or later: 2026-01-31T09:00:00Z (UTC if no zone is given), 90s, 2h, 1d12h, "
            "'2 days' or tomorrow.",
            rich_help_panel=QUEUE_PANEL,
        ),
    ] = None
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="TIME",
            help="Fail the task as `expired` if it has not started by TIME (same format as --not-before).",
            rich_help_panel=QUEUE_PANEL,
        ),
    ] = None
    webhook: Annotated[
        str | None,
        typer.Option(
            "--webhook",
            metavar="URL",
            help="Send a signed webhook to URL when the task ends.",
            rich_help_panel=QUEUE_PANEL,
        ),
    ] = None

    def check(self, many: bool, dry_run: bool) -> None:
        """Raise UsageError if a queue option is used without --detach or with `many` tasks, or if either is a `dry_run`."""
        given = {
            "--priority": self.priority,
            "--not-before": self.not_before,
            "--expires": self.expires,
            "--webhook": self.webhook,
        }
        if many and self.detach:
            raise UsageError("--detach works only with a single task", "Run the batch without --detach.")
        for option, value in given.items():
            if value is not None and many:
                hint = "Set `priority` in the lines of the batch." if option == "--priority" else ""
                raise UsageError(f"{option} works only with a single task", hint)
            if value is not None and not self.detach:
                raise UsageError(f"{option} works only with --detach", "Add --detach.")
        if dry_run and (many or self.detach):
            raise UsageError(
                "--dry-run shows a single task that runs now", "Leave out --batch, --retry-failed and --detach."
            )


class BatchOptions(OptionGroup):
    """How many tasks are run."""

    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            metavar="FILE",
            help="Run one task per line of FILE (JSON Lines; - is standard input).",
            rich_help_panel=BATCH_PANEL,
        ),
    ] = None
    csv: Annotated[
        bool,
        typer.Option("--csv", help="FILE is CSV with a header: run one task per row.", rich_help_panel=BATCH_PANEL),
    ] = False
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            "-j",
            min=1,
            max=MAX_PARALLEL,
            metavar="N",
            help=f"Number of tasks to run at once (default: {DEFAULT_PARALLEL}).",
            rich_help_panel=BATCH_PANEL,
        ),
    ] = None
    ordered: Annotated[
        bool,
        typer.Option(
            "--ordered",
            help="Print results in the order of the lines (default: as tasks end).",
            rich_help_panel=BATCH_PANEL,
        ),
    ] = False
    fail_fast: Annotated[
        bool | None,
        typer.Option(
            "--fail-fast/--keep-going",
            help="After the first failure, start no more tasks (default: keep going).",
            rich_help_panel=BATCH_PANEL,
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted batch; finished lines are not run again.",
            rich_help_panel=BATCH_PANEL,
        ),
    ] = False
    batch_name: Annotated[
        str | None,
        typer.Option(
            "--batch-name",
            metavar="NAME",
            help="Name by which --resume finds the batch (default: the path of FILE).",
            rich_help_panel=BATCH_PANEL,
        ),
    ] = None
    retry_failed: Annotated[
        str | None,
        typer.Option(
            "--retry-failed",
            metavar="SESSION",
            help="Run the failed, cancelled and interrupted tasks of SESSION again.",
            autocompletion=complete_sessions,
            rich_help_panel=BATCH_PANEL,
        ),
    ] = None

    def check(self, capability: str | None, task: TaskOptions) -> None:
        """Raise UsageError for options that cannot be combined."""
        if self.batch is None:
            needs_file: dict[str, object] = {
                "--csv": self.csv,
                "--resume": self.resume,
                "--batch-name": self.batch_name,
            }
            if self.retry_failed is None:
                needs_file |= {"--parallel": self.parallel, "--ordered": self.ordered, "--fail-fast": self.fail_fast}
            for option, value in needs_file.items():
                if value:
                    raise UsageError(f"{option} works only with --batch", "Name the file of tasks with --batch FILE.")
        if self.retry_failed is not None:
            self._check_retry(capability, task)
        elif self.csv and capability is None:
            raise UsageError("CSV rows have no capability", "Name one: `aorch run CAPABILITY --batch FILE --csv`.")
        elif self.batch is None and capability is None:
            raise UsageError(
                "missing capability", "Run `aorch run CAPABILITY KEY=VALUE`; `aorch agents list` shows capabilities."
            )
        if self.batch is not None and capability is not None and "=" in capability:
            raise UsageError(
                f"{capability!r} is a parameter, not a capability",
                "Put the capability first: `aorch run CAPABILITY KEY=VALUE --batch FILE`.",
            )

    def _check_retry(self, capability: str | None, task: TaskOptions) -> None:
        unused = {
            "--batch": self.batch,
            "CAPABILITY": capability,
            "--params": task.params,
            "--session": task.session,
            "--agent": task.agent,
            "--context": task.context,
            "--require": task.require,
        }
        for option, value in unused.items():
            if value is not None:
                raise UsageError(
                    f"--retry-failed runs the recorded tasks again, so it cannot be combined with {option}",
                    f"Leave out {option}.",
                )

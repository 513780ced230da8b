"""Runs the tasks of `aorch run --batch` and `aorch run --retry-failed`, and shows their results and a summary."""

import asyncio
import signal
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from aorch.batch.batch_executor import BatchSaver
from aorch.batch.batch_runner import BatchRunner
from aorch.batch.batch_source import BatchFile, BatchRequest, LineSource, UnfinishedTasks, check_ledger_exists
from aorch.batch.results import BatchCounts
from aorch.cli.batch_place import ThisProcess
from aorch.cli.hints import warn_of_undeclared_in
from aorch.cli.interrupts import end_now_if_threads_remain
from aorch.cli.ledger_source import chosen_server
from aorch.cli.options import CREATES_NEW, DEFAULT_PARALLEL, warn_of_missing
from aorch.cli.parameters_cli import parse_object, parse_templates, split
from aorch.cli.render.batch_output import FLUSH_S, ResultWriter, StandardResults, next_steps, show_progress, summary
from aorch.cli.render.console import printable, warn
from aorch.cli.streams import set_aside, standard_input
from aorch.cli.task_run import read_labels
from aorch.config import environment, settings
from aorch.errors import AorchError, LedgerError, LedgerFull, UsageError
from aorch.logs import warn_of_agents
from aorch.process.signals import SignalReceiver, set_handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from aorch.cli.batch_place import BatchPlace
    from aorch.cli.run_options import BatchOptions, TaskOptions

STDIN = "-"


def run_batch(
    capability: str | None, items: list[str], task: "TaskOptions", batch: "BatchOptions", ledger: str | None
) -> int:
    """Run all tasks. Returns the exit code."""
    task.check()
    place = _place(batch, ledger)
    source = _source(capability, items, task, batch)
    set_aside()  # after standard input was set aside, because FILE may be /dev/stdin
    output = StandardResults()
    set_handler(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt can get lost during imports
    return asyncio.run(_run(place, batch, source, output, ledger))


def _place(batch: "BatchOptions", ledger: str | None) -> "Callable[[], BatchPlace]":
    """Returns what makes the place where the tasks run, in the event loop."""
    if (server := chosen_server(ledger)) is not None:
        from aorch.cli.remote_batch import ServerPlace

        return partial(ServerPlace, server, batch.parallel or DEFAULT_PARALLEL)
    config = settings.load(ledger)
    if batch.retry_failed is not None or batch.resume:
        check_ledger_exists(config.ledger)
    warn_of_missing(config.ledger, ledger, CREATES_NEW)
    return partial(ThisProcess, config)


def _source(capability: str | None, items: list[str], task: "TaskOptions", batch: "BatchOptions") -> LineSource:
    if batch.retry_failed is not None:
        return UnfinishedTasks(batch.retry_failed, task.timeout)
    return _batch_file(capability, items, task, batch)


def _batch_file(capability: str | None, items: list[str], task: "TaskOptions", batch: "BatchOptions") -> BatchFile:
    file = batch.batch or ""
    reads_stdin = [item for item in items if split(item)[1:] in (("=@", "-"), (":=@", "-"))]
    if file == STDIN and (reads_stdin or "@-" in (task.params, task.context)):
        raise UsageError(
            "standard input is the batch, so no parameter can be read from it", "Read the parameter from a file: @FILE."
        )
    request = BatchRequest(
        file=file,
        capability=capability,
        items=items or None,
        templates=parse_templates(items),
        parameters=parse_object("--params", task.params) if task.params else {},
        context=parse_object("--context", task.context) if task.context else {},
        session_id=task.session if task.session is not None else environment.get(environment.SESSION_ID) or None,
        agent_id=task.agent,
        timeout_s=task.timeout,
        require=read_labels(task.require),
        csv=batch.csv,
        name=batch.batch_name,
        resume=batch.resume,
    )
    return BatchFile(request, standard_input().fileno() if file == STDIN else -1)


async def _run(
    make_place: "Callable[[], BatchPlace]",
    options: "BatchOptions",
    source: LineSource,
    output: StandardResults,
    ledger: str | None,
) -> int:
    """Run all lines and print a summary. Returns the exit code."""
    counts, failure = BatchCounts(), None
    outcome = "stopped: "
    warn_of_agents(warn)
    async with make_place() as place:
        running = asyncio.ensure_future(_run_lines(place, options, source, counts, output))
        signals = SignalReceiver(running).received
        try:
            await running
            outcome = ""
        except asyncio.CancelledError:
            outcome = "interrupted: "
        except AorchError as error:
            failure = error
            raise
        finally:
            if counts.lines or outcome != "stopped: ":
                print(_summary(counts, outcome, options.retry_failed), file=sys.stderr)
            if failure is None:  # otherwise the error already has a hint
                for step in next_steps(counts, ledger, resumable=source.resumable, incomplete=bool(outcome)):
                    print(step, file=sys.stderr)
    code = 128 + (signals or [signal.SIGINT])[0] if outcome else counts.exit_code()
    end_now_if_threads_remain(code)
    return code


def _summary(counts: BatchCounts, outcome: str, retried_session: str | None) -> str:
    if retried_session is None or counts.lines or outcome:
        return summary(counts, outcome)
    return f"nothing to retry: session {printable(retried_session)} has no failed, cancelled or interrupted tasks"


async def _run_lines(
    place: "BatchPlace",
    options: "BatchOptions",
    source: LineSource,
    counts: BatchCounts,
    output: StandardResults,
) -> None:
    executor, agents, chunks, history = await place.start(source)
    async with show_progress(counts, source.size, output) as write:
        results = ResultWriter(write, is_file=output.is_file)
        runner = BatchRunner(
            executor,
            results,
            counts,
            _warn_of_pause,
            parallel=options.parallel or DEFAULT_PARALLEL,
            ordered=options.ordered,
            fail_fast=bool(options.fail_fast),
            history=history,
        )
        try:
            await runner.run(warn_of_undeclared_in(agents, chunks))
        except BaseException as error:
            with suppress(Exception):  # the error that stopped the batch is reported; another one would hide it
                async with asyncio.timeout(FLUSH_S):
                    await results.flush()
            if isinstance(error, AorchError):  # otherwise a signal stopped the batch: give up
                await _wait_until_saved(executor.saver, error)
            elif isinstance(error, asyncio.CancelledError) and runner.full is not None:
                raise _gave_up(executor.saver, runner.full, resumable=source.resumable) from None
            raise
        finally:
            if history is not None:
                history.close()
        await results.flush()
    await _wait_until_saved(executor.saver, None)


def _warn_of_pause(full: LedgerFull) -> None:
    warn(
        f"{full}: no more tasks start, and the results of running tasks wait to be saved; "
        "make room to continue, or press Ctrl-C to stop"
    )


def _gave_up(saver: BatchSaver, full: LedgerFull, *, resumable: bool) -> LedgerFull:
    """The error of a batch that was stopped while it waited for room."""
    unsaved = len(saver.unsaved)
    return LedgerFull(
        f"{full}{f'; gave up: {_unsaved(unsaved)} not in the ledger' if unsaved else ''}",
        "Make room, then run the same command with --resume." if resumable else full.hint,
    )


async def _wait_until_saved(saver: BatchSaver, reason: AorchError | None) -> None:
    """Wait until the ledger has accepted every answer. Raises LedgerError if a signal comes first, or if it never will."""
    if not saver.unsaved:
        return None if reason is not None else await saver.saved()
    because = f" ({reason})" if isinstance(reason, LedgerError) else ""
    warn(
        f"{_unsaved(len(saver.unsaved))} not in the ledger yet{because}; aorch keeps trying to write; press Ctrl-C to give up"
    )
    try:
        await saver.saved()
    except asyncio.CancelledError:
        raise LedgerError(f"gave up: {_unsaved(len(saver.unsaved))} not in the ledger") from None


def _unsaved(count: int) -> str:
    return "1 result is" if count == 1 else f"{count} results are"

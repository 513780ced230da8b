"""Runs the tasks of `aorch run --batch` and `aorch run --retry-failed`, and shows their results and a summary."""

import asyncio
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from aorch.batch.batch_runner import BatchRunner
from aorch.batch.batch_source import BatchFile, BatchRequest, LineSource, UnfinishedTasks, check_ledger_exists
from aorch.batch.results import BatchCounts
from aorch.cli.hints import warn_of_undeclared_in
from aorch.cli.interrupts import end_now_if_threads_remain
from aorch.cli.options import CREATES_NEW, DEFAULT_PARALLEL, warn_of_missing
from aorch.cli.parameters_cli import parse_object, parse_templates, split
from aorch.cli.render.batch_output import FLUSH_S, ResultWriter, StandardResults, next_steps, show_progress, summary
from aorch.cli.render.console import printable, warn
from aorch.cli.streams import set_aside, standard_input
from aorch.cli.task_run import check_task_options, read_labels
from aorch.config import settings
from aorch.errors import AorchError, LedgerError, LedgerFull, UsageError
from aorch.logs import warn_of_agents
from aorch.orchestrator import Orchestrator
from aorch.process.signals import cancel_on_signals, set_handler

if TYPE_CHECKING:
    from aorch.cli.run_options import BatchOptions, TaskOptions
    from aorch.config.settings import Config

STDIN = "-"


def run_batch(
    capability: str | None, items: list[str], task: "TaskOptions", batch: "BatchOptions", ledger: str | None
) -> int:
    """Run all tasks. Returns the exit code."""
    check_task_options(task)
    config = settings.load(ledger)
    if batch.retry_failed is not None or batch.resume:
        check_ledger_exists(config.ledger)
    warn_of_missing(config.ledger, ledger, CREATES_NEW)
    source = _source(config, capability, items, task, batch)
    set_aside()  # after standard input was set aside, because FILE may be /dev/stdin
    output = StandardResults()
    set_handler(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt can get lost during imports
    return asyncio.run(_run(config, batch, source, output, ledger))


def _source(
    config: "Config", capability: str | None, items: list[str], task: "TaskOptions", batch: "BatchOptions"
) -> LineSource:
    if batch.retry_failed is not None:
        return UnfinishedTasks(batch.retry_failed, task.timeout)
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
        session_id=task.session if task.session is not None else config.session_id,
        agent_id=task.agent,
        timeout_s=task.timeout,
        require=read_labels(task.require),
        csv=batch.csv,
        name=batch.batch_name,
        resume=batch.resume,
    )
    return BatchFile(request, standard_input().fileno() if file == STDIN else -1)


async def _run(
    config: "Config", options: "BatchOptions", source: LineSource, output: StandardResults, ledger: str | None
) -> int:
    """Run all lines and print a summary. Returns the exit code."""
    counts, failure = BatchCounts(), None
    outcome = "stopped: "
    warn_of_agents(warn)
    async with Orchestrator(config=config) as orchestrator:
        running = asyncio.ensure_future(_run_lines(orchestrator, options, source, counts, output))
        signals = cancel_on_signals(running)
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
    orchestrator: Orchestrator,
    options: "BatchOptions",
    source: LineSource,
    counts: BatchCounts,
    output: StandardResults,
) -> None:
    orchestrator.open()
    executor = orchestrator.executor
    chunks, history = await source.start(executor.ledger, orchestrator.registry)
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
            await runner.run(warn_of_undeclared_in(orchestrator.registry, chunks))
        except BaseException as error:
            with suppress(Exception):  # the error that stopped the batch is reported; another one would hide it
                await asyncio.wait_for(results.flush(), FLUSH_S)
            if isinstance(error, AorchError):  # otherwise a signal stopped the batch: give up
                await _wait_until_saved(orchestrator, error)
            elif isinstance(error, asyncio.CancelledError) and runner.full is not None:
                raise _gave_up(orchestrator, runner.full, resumable=source.resumable) from None
            raise
        finally:
            if history is not None:
                history.close()
        await results.flush()
    await _wait_until_saved(orchestrator, None)


def _warn_of_pause(full: LedgerFull) -> None:
    warn(
        f"{full}: no more tasks start, and the results of running tasks wait to be saved; "
        "make room to continue, or press Ctrl-C to stop"
    )


def _gave_up(orchestrator: Orchestrator, full: LedgerFull, *, resumable: bool) -> LedgerFull:
    """The error of a batch that was stopped while it waited for room."""
    unsaved = len(orchestrator.executor.saver.unsaved)
    return LedgerFull(
        f"{full}{f'; gave up: {_unsaved(unsaved)} not in the ledger' if unsaved else ''}",
        "Make room, then run the same command with --resume." if resumable else full.hint,
    )


async def _wait_until_saved(orchestrator: Orchestrator, reason: AorchError | None) -> None:
    """Wait until the ledger has accepted every answer. Raises LedgerError if a signal comes first."""
    saver = orchestrator.executor.saver
    if not saver.unsaved:
        return
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

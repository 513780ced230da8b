"""`aorch run`: call an agent by what it can do."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aorch.cli.commands import run_batch
from aorch.cli.interrupts import end_now_if_threads_remain
from aorch.cli.options import (
    IS_CREATED,
    JsonOption,
    LedgerOption,
    complete_agents,
    complete_capabilities,
    complete_sessions,
    warn_of_missing,
)
from aorch.cli.streams import set_aside
from aorch.cli.time_options import AHEAD_HELP, ago, ahead
from aorch.errors import UsageError
from aorch.ledger import priorities
from aorch.process.signals import cancel_on_signals, set_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aorch.agents.registry import Registry
    from aorch.config.settings import Config
    from aorch.engine.response_saver import Unsaved
    from aorch.engine.task import Answer, QueueOptions, Task
    from aorch.orchestrator import Orchestrator

DELIVERY_S = 1.8
"""How long a delivery to Trace may keep the command after its answer; with what an end takes, under 2 s."""

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Exit code: 0 success, 2 usage, 5 timed out, 10 the agent failed, 11 no agent, 14 ledger, 130 interrupted. "
    "Of many tasks: 0 where all succeeded, else the code that all failures share (2: only broken lines), else 10."
)
def run(
    ctx: typer.Context,
    capability: Annotated[
        str | None,
        typer.Argument(help="What is to be done; of all lines, with --batch.", autocompletion=complete_capabilities),
    ] = None,
    items: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Its parameters, as HTTPie writes them.")
    ] = None,
    params: Annotated[
        str | None, typer.Option("--params", metavar="JSON", help="All parameters as one JSON object, @FILE or @-.")
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            "--session", "-s", metavar="ID", help="The session; else a new one.", autocompletion=complete_sessions
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option("--agent", "-a", metavar="ID", help="Insist on this agent.", autocompletion=complete_agents),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="JSON", help="What the agent should know besides: an object, @FILE, @-."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="Give up after so long.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Put it into the queue for a worker; print its contract id.")
    ] = False,
    priority: Annotated[
        int | None,
        typer.Option(
            "--priority", min=priorities.HIGHEST, max=priorities.LOWEST, help="In the queue: 1 goes first; 3."
        ),
    ] = None,
    not_before: Annotated[
        str | None, typer.Option("--not-before", metavar="TIME", help=f"In the queue: not before {AHEAD_HELP}.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="In the queue: not from then on, written likewise.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="In the queue: who is to be told of its end, signed.")
    ] = None,
    json: JsonOption = False,
    ledger: LedgerOption = None,
    batch: run_batch.FileOption = None,
    csv: run_batch.CsvOption = False,
    parallel: run_batch.ParallelOption = None,
    ordered: run_batch.OrderedOption = False,
    fail_fast: run_batch.FailFastOption = None,
    resume: run_batch.ResumeOption = False,
    batch_name: run_batch.NameOption = None,
    retry_failed: run_batch.RetryOption = None,
) -> None:
    """Call an agent by what it can do, and keep the exchange in the ledger.

    A value is written text=hello, n:=3 (JSON), text=@notes.md (a file's text), text=@- (standard input)
    or doc:=@data.json (a file's JSON). The answer goes to stdout.

    \b
    Examples:
      aorch run echo text=hi
      cat notes.md | aorch run uppercase text=@- --session review
      aorch run echo --params '{"text": "hi"}' --timeout 30 --json
      aorch run uppercase text=hi | aorch run echo text=@-
      aorch run echo text=hi --detach --priority 1 --not-before 2h
      aorch run --batch tasks.jsonl --parallel 32 > results.jsonl
      aorch run --batch tasks.jsonl --resume > results.jsonl
      aorch run uppercase text={body} --batch mails.csv --csv
      aorch run --retry-failed review
    """
    options = run_batch.Options(**ctx.params)
    if options.check():
        raise typer.Exit(run_batch.run(options))
    assert capability is not None  # options.check() sees to that
    from aorch.cli.parameters_cli import parse_items, parse_object
    from aorch.config import settings
    from aorch.engine.task import Task, named_session
    from aorch.orchestrator import new_session_id

    parameters = {**(parse_object("--params", params) if params else {}), **parse_items(items or [])}
    config = settings.load(ledger)
    task = Task(
        capability=capability,
        parameters=parameters,
        session_id=named_session(session if session is not None else config.session_id or new_session_id()),
        context=parse_object("--context", context) if context else {},
        agent_id=agent,
        timeout_s=timeout,
    )
    warn_of_missing(config.ledger, ledger, IS_CREATED)
    if detach:
        from aorch.cli.commands.queued import submit

        return submit(config, task, _queue_options(priority, not_before, expires, webhook), as_json=json)
    set_handler(signal.SIGINT, signal.SIG_DFL)  # a KeyboardInterrupt can get lost while modules are imported
    after = f"aorch contracts list -s {task.session_id}"
    raise typer.Exit(asyncio.run(_perform_task(config, task, after, as_json=json)))


async def _perform_task(config: "Config", task: "Task", after: str, *, as_json: bool) -> int:
    from aorch.cli.hints import tell_choice, warn_of_undeclared

    registries: list[Registry] = []

    def begin(orchestrator: "Orchestrator") -> "Coroutine[Any, Any, Answer]":
        registries.append(orchestrator.registry)
        warn_of_undeclared(orchestrator.registry, task)
        return orchestrator.perform(task)

    return await perform(
        config,
        begin,
        cancelled_hint=lambda: after,
        as_json=as_json,
        besides=lambda answer: tell_choice(registries[0], task, answer),
    )


def _queue_options(
    priority: int | None, not_before: str | None, expires: str | None, webhook: str | None
) -> "QueueOptions":
    from aorch.clock import rfc3339
    from aorch.engine.task import QueueOptions

    begin = ahead("--not-before", not_before) if not_before else None
    end = ahead("--expires", expires) if expires else None
    if end and end <= (begin or ago("--expires", "0s")):
        raise UsageError(f"--expires is not after {'--not-before' if begin else 'now'}", "Give it longer.")
    return QueueOptions(
        priority or priorities.DEFAULT, rfc3339(begin) if begin else None, rfc3339(end) if end else None, webhook
    )


async def perform(
    config: "Config",
    begin: "Callable[[Orchestrator], Coroutine[Any, Any, Answer]]",
    *,
    cancelled_hint: "Callable[[], str]",
    as_json: bool,
    besides: "Callable[[Answer], None] | None" = None,
) -> int:
    """Do what `begin` begins, and show what came of it, and what `besides` says of it; the exit code."""
    from aorch.cli.render.console import warn
    from aorch.engine.response_saver import Unsaved
    from aorch.logs import warn_of_agents
    from aorch.orchestrator import Orchestrator

    answer, unsaved, outermost = None, None, False
    warn_of_agents(warn)
    async with AsyncExitStack() as opened:
        set_aside()  # what an agent prints is not the answer
        orchestrator = await opened.enter_async_context(Orchestrator(config=config))
        performing = asyncio.ensure_future(begin(orchestrator))
        ended_by = cancel_on_signals(performing)
        try:
            answer = await performing
        except Unsaved as error:
            answer, unsaved = error.answer, error
            cancel_on_signals(unsaved.saving)
        except asyncio.CancelledError:
            pass
        outermost = answer is not None and orchestrator.executor.parent_id is None
        if unsaved is None:
            await opened.aclose()
        if answer and besides:
            besides(answer)
        code = show_answer(answer, as_json) if answer else _tell_cancelled(cancelled_hint(), ended_by)
        if unsaved is not None and not await _saved(unsaved):
            code = unsaved.exit_code
    if config.trace_configured and outermost:  # else who is above waits for this to end
        await _deliver(config)
    end_now_if_threads_remain(code)
    return code


async def _saved(unsaved: "Unsaved") -> bool:
    """Wait until the ledger takes the answer, which has been shown; whether it did before a signal came."""
    from aorch.cli.render.console import complain, warn
    from aorch.errors import LedgerError

    warn(f"{unsaved}; aorch tries again until it is, and Ctrl-C gives up")
    try:
        await unsaved.saving
    except asyncio.CancelledError:
        complain(LedgerError("gave up: the answer above is not in the ledger", unsaved.reason.hint))
        return False
    return True


async def _deliver(config: "Config") -> None:
    """Tell Trace, for a moment; what it does not take by then stays due. The answer is out and the exit code is its own."""
    until = time.monotonic() + DELIVERY_S
    from aorch.cli.render.console import warn
    from aorch.errors import LedgerError
    from aorch.trace.push import push_until

    delivering = asyncio.ensure_future(push_until(config, until))
    cancel_on_signals(delivering)
    try:
        await delivering
    except LedgerError as error:
        warn(str(error))
    except (TimeoutError, asyncio.CancelledError):
        pass


def _tell_cancelled(hint: str, ended_by: list[int]) -> int:
    from aorch.cli.render.console import complain
    from aorch.errors import AgentCancelled

    complain(AgentCancelled("interrupted; the contract says cancelled", hint))
    return 128 + ended_by[0] if ended_by else AgentCancelled.exit_code


def show_answer(answer: "Answer", as_json: bool) -> int:
    """Show the answer; the exit code that tells the truth about it."""
    from aorch.cli.render.console import complain, note, print_json, print_json_line, print_stderr, print_text

    if as_json:
        print_json_line(answer.as_dict())
    elif answer.success or answer.data is not None:
        text = _single_text(answer.data)
        if text is None:
            print_json(answer.data)
        elif text or answer.success:
            print_text(text)
    elif answer.stdout:
        print_text(answer.stdout)
    if answer.stderr and not as_json and answer.stderr.strip() not in (answer.error or ""):
        print_stderr(answer.stderr)
    if answer.failure is not None:
        complain(answer.failure(answer.error or "", answer.hint))
    ended = f" · exit code {answer.exit_code}" if answer.exit_code else ""
    note(
        f"{answer.agent_id or 'no agent'} · {answer.duration_ms:.0f} ms{ended} · contract {answer.contract_id}"
        f" · session {answer.session_id}"
    )
    return answer.failure.exit_code if answer.failure else 0


def _single_text(data: Any) -> str | None:
    """The text, where the answer is one: a string, or an object that holds nothing but one string."""
    if isinstance(data, dict) and len(data) == 1:
        (data,) = data.values()
    return data if isinstance(data, str) else None

"""`aorch run`: call an agent by what it can do."""

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aorch.cli.options import JsonOption, LedgerOption, complete_agents, complete_capabilities, complete_sessions

if TYPE_CHECKING:
    from aorch.config import Config
    from aorch.core.task import Answer, Task

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Exit code: 0 success, 2 usage, 5 timed out, 10 the agent failed, 11 no agent, 14 ledger, 130 interrupted."
)
def run(
    capability: Annotated[str, typer.Argument(help="What is to be done.", autocompletion=complete_capabilities)],
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
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Call an agent by what it can do, and keep the exchange in the ledger.

    A value is written text=hello, n:=3 (JSON), text=@notes.md (a file's text), text=@- (standard input)
    or doc:=@data.json (a file's JSON). The answer goes to stdout.

    \b
    Examples:
      aorch run echo text=hi
      git diff | aorch run summarize text=@- --session review
      aorch run resize width:=640 path=photo.jpg --timeout 30 --json
    """
    from aorch import config as configuration
    from aorch.cli.items import parse_items, parse_object
    from aorch.core.orchestrator import new_session_id
    from aorch.core.task import Task

    parameters = {**(parse_object("--params", params) if params else {}), **parse_items(items or [])}
    config = configuration.load(ledger)
    task = Task(
        capability=capability,
        parameters=parameters,
        session_id=session or config.session_id or new_session_id(),
        context=parse_object("--context", context) if context else {},
        agent_id=agent,
        timeout_s=timeout,
    )
    _show(asyncio.run(_perform(config, task)), json)


async def _perform(config: "Config", task: "Task") -> "Answer":
    from aorch.core.orchestrator import Orchestrator

    async with Orchestrator(config=config) as orchestrator:
        performing = asyncio.ensure_future(orchestrator.perform(task))
        ended_by: list[int] = []

        def stop(number: int) -> None:
            ended_by.append(number)
            performing.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop, number)
        try:
            return await performing
        except asyncio.CancelledError:
            from aorch.cli.output import complain
            from aorch.errors import AgentCancelled

            complain(AgentCancelled(f"interrupted; the contract in session {task.session_id} says cancelled"))
            raise typer.Exit(128 + ended_by[0] if ended_by else 130) from None


def _show(answer: "Answer", as_json: bool) -> None:
    from aorch.cli.output import complain, note, print_json, print_json_line, print_text

    if as_json:
        print_json_line(answer.as_dict())
    elif answer.success:
        text = _single_text(answer.data)
        if text is None:
            print_json(answer.data)
        else:
            print_text(text)
    if answer.failure is not None:
        complain(answer.failure(answer.error or "", answer.hint))
    note(
        f"{answer.agent_id or 'no agent'} · {answer.duration_ms:.0f} ms · contract {answer.contract_id}"
        f" · session {answer.session_id}"
    )
    sys.stdout.flush()
    if answer.failure is not None:
        raise typer.Exit(answer.failure.exit_code)


def _single_text(data: Any) -> str | None:
    """The text, where the answer is one: a string, or an object that holds nothing but one string."""
    if isinstance(data, dict) and len(data) == 1:
        (data,) = data.values()
    return data if isinstance(data, str) else None

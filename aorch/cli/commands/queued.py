"""Tasks that somebody else does: put into the queue, waited for, cancelled."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.options import JsonOption, LedgerOption, complete_contracts

if TYPE_CHECKING:
    from pathlib import Path

    from aorch.config.settings import Config
    from aorch.engine.task import Answer, QueueOptions, Task
    from aorch.errors import AorchError
    from aorch.ledger.record import Record

LOOK_AFTER_S = 0.5
"""How soon it is seen that whoever did a task has died."""

IdsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...", help="REQUESTs: their ids, or how these begin or end.", autocompletion=complete_contracts
    ),
]


def submit(config: "Config", task: "Task", options: "QueueOptions", *, as_json: bool) -> None:
    """Put `task` into the queue and print the id of its REQUEST."""
    from aorch.cli.hints import warn_of_undeclared
    from aorch.cli.render.console import note, print_json_line, print_text
    from aorch.cli.streams import set_aside
    from aorch.engine.submit import TaskRejected
    from aorch.orchestrator import Orchestrator

    if options.webhook is not None:
        from aorch.worker.webhooks import check_webhook

        check_webhook(config, options.webhook)

    async def queue() -> "Record":
        async with Orchestrator(config=config) as orchestrator:
            warn_of_undeclared(orchestrator.registry, task)
            return await orchestrator.queue.submit(task, options)

    set_aside()
    try:
        contract_id = asyncio.run(queue()).contract_id
    except TaskRejected as rejected:
        note(f"contract {rejected.answer.contract_id} · session {task.session_id}")
        raise rejected.answer.as_error() from None
    if as_json:
        print_json_line({"contract_id": contract_id, "session_id": task.session_id, "status": "pending"})
    else:
        print_text(contract_id)
    note(f"aorch contracts wait {contract_id}")


def wait(
    contract_ids: IdsArgument,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0, metavar="SECONDS", help="Seconds to wait; 0: print what is answered already."),
    ] = None,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Wait until REQUESTs are answered, and show the answers: one as `aorch run` does, several as lines of JSON.

    Exit code: that of the first which failed, as of `aorch run`; 5 where one is not answered in time.

    \b
    Examples:
      aorch contracts wait $(aorch run echo text=hi --detach)
      aorch contracts wait 01K8VF9XK83SYH1HAX57ZGJDYS --timeout 60 --json
    """
    from aorch.cli.commands.run import show_answer
    from aorch.cli.render.console import print_json_line
    from aorch.config import settings

    path = settings.ledger_path(ledger)
    whole = _whole(path, contract_ids)
    codes = []
    for answer in asyncio.run(_answers(path, whole, timeout)):
        if len(whole) > 1:
            print_json_line(answer.as_dict())
            codes.append(answer.failure.exit_code if answer.failure else 0)
        else:
            codes.append(show_answer(answer, json))
    raise typer.Exit(next((code for code in codes if code), 0))


def cancel(contract_ids: IdsArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Cancel REQUESTs, whoever does them: agents are told to stop, and the RESPONSE says cancelled.

    Prints each with its status: in_progress as long as its agent has yet to stop. Again changes nothing. Whatever cannot
    be cancelled is told, the others are cancelled all the same; the exit code is that of the first failure.

    \b
    Examples:
      aorch contracts cancel 01K8VF9XK83SYH1HAX57ZGJDYS
      aorch contracts list --status pending -n 100000 | cut -f1 | xargs -r aorch contracts cancel
    """
    from aorch.cli.render.console import complain, print_json, print_text
    from aorch.cli.streams import set_aside
    from aorch.config import settings

    config = settings.load(ledger)
    set_aside()
    forms, failures = asyncio.run(_cancel(config, contract_ids))
    if json:
        print_json(forms)
    else:
        for form in forms:
            print_text(f"{form['contract_id']}\t{form['status']}")
    for failure in failures:
        complain(failure)
    raise typer.Exit(failures[0].exit_code if failures else 0)


async def _cancel(config: "Config", parts: list[str]) -> "tuple[list[dict[str, str]], list[AorchError]]":
    """Cancel what can be cancelled: each with its status, and why the others cannot be. Raises LedgerError."""
    from aorch.errors import AorchError, LedgerError
    from aorch.ledger.reader import Reader
    from aorch.orchestrator import Orchestrator

    forms: list[dict[str, str]] = []
    failures: list[AorchError] = []
    with Reader(config.ledger) as reader:
        async with Orchestrator(config=config) as orchestrator:
            for part in parts:
                try:
                    contract_id = reader.find(part).contract_id
                    status = await orchestrator.cancel(contract_id, by="aorch contracts cancel")
                    forms.append({"contract_id": contract_id, "status": status})
                except LedgerError:
                    raise
                except AorchError as failure:
                    failures.append(failure)
    return forms, failures


def _whole(path: "Path", parts: list[str]) -> list[str]:
    """Whole ids. Raises NotFound, and UsageError for a part of several."""
    from aorch.ledger.reader import Reader

    with Reader(path) as reader:
        return [reader.find(part).contract_id for part in parts]


async def _answers(path: "Path", contract_ids: list[str], timeout_s: float | None) -> "list[Answer]":
    """Their answers, in that order. Raises WaitedTooLong where one is not there within `timeout_s` seconds."""
    from aorch.engine.recovery import recover
    from aorch.engine.waiter import ResponseWaiter
    from aorch.errors import WaitedTooLong
    from aorch.process.threads import in_thread

    waiting = ResponseWaiter(path)
    asked = [asyncio.create_task(waiting.wait(contract_id)) for contract_id in contract_ids]
    try:
        answered, left = await asyncio.wait(asked, timeout=0)  # an answer that exists needs no time
        _ = [task.result() for task in answered]  # one that will never be answered ends it
        async with asyncio.timeout(timeout_s if left else None):
            while left:
                await in_thread(recover, path)
                _, left = await asyncio.wait(asked, timeout=LOOK_AFTER_S, return_when=asyncio.FIRST_EXCEPTION)
                _ = [task.result() for task in asked if task not in left]
    except TimeoutError:
        missing = [one for one, task in zip(contract_ids, asked, strict=True) if not task.done()]
        raise WaitedTooLong(
            f"not answered within {timeout_s:g} s: {', '.join(missing)}",
            "Does an `aorch worker` run, and has an agent of its aorch.toml the capability?",
        ) from None
    finally:
        for task in asked:
            task.cancel()
        waiting.close()
    return [answer for task in asked if (answer := task.result()) is not None]

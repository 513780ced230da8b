"""`aorch contracts resume`: continue a pipeline that did not complete."""

import shlex
from typing import TYPE_CHECKING, Any

import typer

from aorch.cli.options import JsonOption, LedgerOption, RequestIdArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from aorch.agents.registry import Registry
    from aorch.engine.executor import TaskExecutor
    from aorch.engine.task import Answer


def resume(contract_id: RequestIdArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Resume a pipeline that failed, was cancelled or was interrupted.

    aorch runs its task again as a new REQUEST, whose metadata names the REQUEST that it resumes. Results of completed steps and
    items are reused from the ledger; all other steps and items are run. A task that is not a pipeline is run again.

    \b
    Example:
      aorch contracts resume 01K8VF9XK83SYH1HAX57ZGJDYS
    """
    import asyncio

    from aorch.batch.batch_source import check_ledger_exists
    from aorch.cli.task_run import run_and_show
    from aorch.config import settings

    config = settings.load(ledger)

    def cancelled_hint() -> str:
        from aorch.engine.resume import resumable

        at = f" --ledger {shlex.quote(ledger)}" if ledger is not None else ""
        return f"Continue it with `aorch contracts resume {resumable(config.ledger, contract_id)}{at}`."

    async def again(executor: "TaskExecutor", on_progress: "Callable[[Any], None] | None") -> "Answer":
        from aorch.engine.resume import task_again

        task = await asyncio.to_thread(task_again, config.ledger, contract_id, executor.registry)
        return await executor.perform(task, on_progress=on_progress)

    check_ledger_exists(config.ledger)
    code = run_and_show(config, again, cancelled_hint=cancelled_hint, as_json=json, after=_note_reused)
    raise typer.Exit(code)


def _note_reused(_: "Registry", answer: "Answer") -> None:
    from aorch.cli.render.console import note

    if answer.reused is None:
        note("this task is not a pipeline, so all of it was run again")
    else:
        count = len(answer.reused)
        note(f"{count} result{' was' if count == 1 else 's were'} reused from the ledger")

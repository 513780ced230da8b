"""`aorch contracts resume`: continue a pipeline that did not complete."""

import shlex
from typing import TYPE_CHECKING

import typer

from aorch.cli.options import JsonOption, LedgerOption, RequestIdArgument

if TYPE_CHECKING:
    from aorch.engine.task import Answer


def resume(contract_id: RequestIdArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Resume a pipeline that failed, was cancelled or was interrupted.

    aorch runs its task again as a new REQUEST, whose metadata names the REQUEST that it resumes. Results of completed steps and
    items are reused from the ledger; all other steps and items are run. A task that is not a pipeline is run again.

    \b
    Example:
      aorch contracts resume 01K8VF9XK83SYH1HAX57ZGJDYS
    """
    from aorch.cli.task_run import run_and_show
    from aorch.config import settings

    config = settings.load(ledger)

    def cancelled_hint() -> str:
        from aorch.engine.resume import resumable

        at = f" --ledger {shlex.quote(ledger)}" if ledger is not None else ""
        return f"Continue it: aorch contracts resume {resumable(config.ledger, contract_id)}{at}"

    code = run_and_show(
        config, lambda o: o.resume(contract_id), cancelled_hint=cancelled_hint, as_json=json, after=_note_reused
    )
    raise typer.Exit(code)


def _note_reused(answer: "Answer") -> None:
    from aorch.cli.render.console import note

    if answer.reused is None:
        note("this task is not a pipeline, so all of it was run again")
    else:
        count = len(answer.reused)
        note(f"{count} result{' was' if count == 1 else 's were'} reused from the ledger")

"""`aorch contracts resume`: continue a pipeline that did not complete."""

import typer

from aorch.cli.options import JsonOption, LedgerOption, RequestIdArgument


def resume(contract_id: RequestIdArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Resume a pipeline that failed, was cancelled or was interrupted.

    aorch runs its task again as a new REQUEST, whose metadata names the REQUEST that it resumes. Results of completed steps and
    items are reused from the ledger; all other steps and items are run. A task that is not a pipeline is run again.

    \b
    Example:
      aorch contracts resume 01K8VF9XK83SYH1HAX57ZGJDYS
    """
    from aorch.cli.task_target import open_target

    raise typer.Exit(open_target(ledger).resume(contract_id, as_json=json))

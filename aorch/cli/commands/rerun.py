"""`aorch rerun`: run a recorded task again."""

import typer

from aorch.cli.options import JsonOption, LedgerOption, RequestIdArgument

app = typer.Typer(add_completion=False)


@app.command()
def rerun(contract_id: RequestIdArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Run the task of a recorded exchange again, even if it succeeded.

    The task is recorded in the same session, as a new REQUEST whose metadata names the earlier one (`rerun_of`). It has the same
    parameters and context, and the same agent if the caller had requested one.

    \b
    Example:
      aorch rerun 01K8VF9XK83SYH1HAX57ZGJDYS
    """
    from aorch.cli.task_target import open_target

    raise typer.Exit(open_target(ledger).rerun(contract_id, as_json=json))

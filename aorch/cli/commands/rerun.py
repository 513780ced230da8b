"""`aorch rerun`: run a recorded task again."""

from typing import TYPE_CHECKING, Any

import typer

from aorch.cli.options import JsonOption, LedgerOption, RequestIdArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from aorch.engine.executor import TaskExecutor
    from aorch.engine.task import Answer

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
    import asyncio

    from aorch.batch.batch_source import check_ledger_exists
    from aorch.cli.task_run import run_and_show
    from aorch.config import settings

    config = settings.load(ledger)

    async def again(executor: "TaskExecutor", on_progress: "Callable[[Any], None] | None") -> "Answer":
        from aorch.engine.resume import same_task

        task = await asyncio.to_thread(same_task, config.ledger, contract_id, executor.registry)
        return await executor.perform(task, on_progress=on_progress)

    check_ledger_exists(config.ledger)
    code = run_and_show(
        config,
        again,
        cancelled_hint=lambda: f"Run it again with `aorch rerun {contract_id}`.",
        as_json=json,
        after=lambda _, __: None,
    )
    raise typer.Exit(code)

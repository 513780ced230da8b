"""`aorch contracts resume`: a task that did not complete, performed again."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from aorch.cli.options import JsonOption, LedgerOption, complete_contracts

if TYPE_CHECKING:
    from aorch.engine.task import Answer


def resume(
    contract_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of the REQUEST, or how it begins or ends.",
            autocompletion=complete_contracts,
        ),
    ],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Go on with a pipeline that failed, was cancelled or interrupted.

    Its task is performed again as a new REQUEST, whose metadata says which one it resumes. Steps and items that completed
    are taken from the ledger; what was open, failed or not yet begun is done. Any other task is simply done again.

    \b
    Example:
      aorch contracts resume 01K8VF9XK83SYH1HAX57ZGJDYS
    """
    import asyncio
    import signal

    from aorch.cli.commands.run import perform
    from aorch.config import settings
    from aorch.process.signals import set_handler

    config = settings.load(ledger)
    set_handler(signal.SIGINT, signal.SIG_DFL)  # as in `aorch run`

    def after() -> str:
        from aorch.engine.resume import resumable

        at = f" --ledger {shlex.quote(ledger)}" if ledger is not None else ""
        return f"Go on again: aorch contracts resume {resumable(config.ledger, contract_id)}{at}"

    code = asyncio.run(
        perform(config, lambda o: o.resume(contract_id), cancelled_hint=after, as_json=json, besides=_say)
    )
    raise typer.Exit(code)


def _say(answer: "Answer") -> None:
    from aorch.cli.render.console import note

    if answer.reused is None:
        note("no pipeline, so the same task was done again, as a new REQUEST")
    else:
        note(f"a new REQUEST of the pipeline; {len(answer.reused)} results were taken from the ledger")

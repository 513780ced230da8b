"""`aorch contracts cancel`: cancel queued and running tasks."""

from typing import TYPE_CHECKING

import typer

from aorch.cli.options import JsonOption, LedgerOption, RequestIdsArgument

if TYPE_CHECKING:
    from aorch.config.settings import Config
    from aorch.errors import AorchError


def cancel(contract_ids: RequestIdsArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Cancel tasks, no matter which process runs them: the agent stops, and the RESPONSE is recorded as cancelled.

    Prints each ID with its status, which is in_progress until the agent has stopped. Cancelling a task twice has no effect. If
    an ID cannot be cancelled, aorch prints an error and cancels the others; the exit code is that of the first error.

    \b
    Examples:
      aorch contracts cancel 01K8VF9XK83SYH1HAX57ZGJDYS
      aorch contracts list --status pending -n 100000 | cut -f1 | xargs -r aorch contracts cancel
    """
    import asyncio

    from aorch.cli.render.console import complain, print_json, print_text
    from aorch.cli.streams import set_aside
    from aorch.config import settings

    config = settings.load(ledger)
    set_aside()
    cancelled, errors = asyncio.run(_cancel_all(config, contract_ids))
    if json:
        print_json([{"contract_id": contract_id, "status": status} for contract_id, status in cancelled])
    else:
        for contract_id, status in cancelled:
            print_text(f"{contract_id}\t{status}")
    for error in errors:
        complain(error)
    raise typer.Exit(errors[0].exit_code if errors else 0)


async def _cancel_all(config: "Config", parts: list[str]) -> "tuple[list[tuple[str, str]], list[AorchError]]":
    """Cancel each REQUEST if possible.

    Returns (id, status) of the cancelled ones and the errors of the others. Raises LedgerError.
    """
    from aorch.errors import AorchError, LedgerError
    from aorch.ledger.reader import Reader
    from aorch.orchestrator import Orchestrator

    cancelled: list[tuple[str, str]] = []
    errors: list[AorchError] = []
    with Reader(config.ledger) as reader:
        async with Orchestrator(config=config) as orchestrator:
            for part in parts:
                try:
                    contract_id = reader.find(part).contract_id
                    status = await orchestrator.cancel(contract_id, by="aorch contracts cancel")
                    cancelled.append((contract_id, status))
                except LedgerError:
                    raise
                except AorchError as error:
                    errors.append(error)
    return cancelled, errors

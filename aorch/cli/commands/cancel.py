"""`aorch contracts cancel`: cancel queued and running tasks."""

import typer

from aorch.cli.options import JsonOption, LedgerOption, RequestIdsArgument


def cancel(contract_ids: RequestIdsArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Cancel tasks, no matter which process runs them: the agent stops, and the RESPONSE is recorded as cancelled.

    Prints each ID with its status, which is in_progress until the agent has stopped. Cancelling a task twice has no effect. If
    an ID cannot be cancelled, aorch prints an error and cancels the others; the exit code is that of the first error.

    \b
    Examples:
      aorch contracts cancel 01K8VF9XK83SYH1HAX57ZGJDYS
      aorch contracts list --status pending -n 100000 | cut -f1 | xargs -r aorch contracts cancel
    """
    from aorch.cli.render.console import complain, print_json, print_text
    from aorch.cli.task_target import open_target

    cancelled, errors = open_target(ledger).cancel_all(contract_ids)
    if json:
        print_json([{"contract_id": contract_id, "status": status} for contract_id, status in cancelled])
    else:
        for contract_id, status in cancelled:
            print_text(f"{contract_id}\t{status}")
    for error in errors:
        complain(error)
    raise typer.Exit(errors[0].exit_code if errors else 0)

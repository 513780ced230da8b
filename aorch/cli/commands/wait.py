"""`aorch contracts wait`: wait for the answers of queued tasks."""

from typing import Annotated

import typer

from aorch.cli.options import JsonOption, LedgerOption, RequestIdsArgument


def wait(
    contract_ids: RequestIdsArgument,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            min=0,
            metavar="SECONDS",
            help="Seconds to wait; 0 prints only answers that exist already (default: no limit).",
        ),
    ] = None,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Wait for tasks to finish and print their answers; several answers are printed as JSON Lines.

    Exit code: that of the first failed task, as for `aorch run`; 5 if a task does not finish in time.

    \b
    Examples:
      aorch contracts wait $(aorch run echo text=hi --detach)
      aorch contracts wait 01K8VF9XK83SYH1HAX57ZGJDYS --timeout 60 --json
    """
    from aorch.cli.render.answer_view import show_answer
    from aorch.cli.render.console import print_json_line
    from aorch.cli.task_target import open_target

    codes = []
    for answer in open_target(ledger).wait_for_answers(contract_ids, timeout):
        if len(contract_ids) > 1:
            print_json_line(answer.as_dict())
            codes.append(answer.failure.exit_code if answer.failure else 0)
        else:
            codes.append(show_answer(answer, json))
    raise typer.Exit(next((code for code in codes if code), 0))

"""`aorch trace`: deliver contracts to Trace and show the delivery status."""

from typing import Annotated, Any

import typer

from aorch.cli.options import JsonOption, LedgerOption
from aorch.cli.shell_completion import complete_sessions

MAX_LISTED = 10
"""More parked deliveries than this are summarised by kind."""

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Deliver contracts to Trace and show the delivery status."
)


@app.command(
    epilog="Exit code: 0 everything is delivered, 3 Trace failed or is not reachable, 13 a delivery was parked, 14 ledger error."
)
def push(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Deliver everything that is due now. Use it from cron if no `aorch serve` is running.

    \b
    Examples:
      aorch trace push
      aorch trace push --json
    """
    from aorch.config import settings

    _push(settings.load(ledger), json)


@app.command()
def status(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Show how many deliveries are due, delivered and parked, which process delivers, and the last error.

    The command does not contact Trace.

    \b
    Examples:
      aorch trace status
      aorch trace status --json
    """
    from aorch.cli.render.console import print_json, print_text
    from aorch.config import settings
    from aorch.trace import delivery_status

    found = delivery_status.status(settings.load(ledger))
    if json:
        return print_json(found)
    print_text("\n".join(_lines(found)))


@app.command(epilog="Exit code: as for push, or 12 if there is no such parked delivery.")
def retry(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...", help="IDs of contracts, or their beginnings (default: all parked deliveries)."
        ),
    ] = None,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Retry parked deliveries, and deliver everything that is due.

    A delivery in state `unknown` may have arrived, so aorch first checks whether Trace has it. If Trace cannot return the
    session of the delivery, aorch sends it again, and Trace may store it twice.

    \b
    Examples:
      aorch trace retry
      aorch trace retry 01M81E04EY
    """
    from aorch.config import settings
    from aorch.trace import delivery_status

    config = settings.load(ledger)
    delivery_status.retry(config, ids or [])
    _push(config, json)


@app.command(
    "import",
    epilog="Exit code: 0 no differences, 3 Trace cannot return the session, 12 no such session, 13 differences found.",
)
def import_(
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="Session to compare.", autocompletion=complete_sessions)
    ],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Read a session from Trace and report differences from the ledger. Nothing is changed.

    aorch does not request a session that may be larger than 64 KiB in Trace: Trace cannot return it, and the request may break
    Trace.

    \b
    Examples:
      aorch trace import review
      aorch trace import review --json
    """
    import asyncio

    from aorch.cli.render.console import print_json, print_text
    from aorch.config import settings
    from aorch.errors import Conflict
    from aorch.trace.reconcile import compare

    found = asyncio.run(compare(settings.load(ledger), session))
    if json:
        print_json(found)
    else:
        print_text("\n".join(_differences(found)))
    if found["differs"]:
        raise Conflict(
            f"session {session!r} differs between Trace and the ledger",
            "The differences are listed above; `aorch trace push` delivers contracts that are due.",
        )


def _push(config: Any, json: bool) -> None:
    import asyncio

    from aorch.cli.render.console import print_json, print_text
    from aorch.errors import Conflict
    from aorch.trace.push import push

    pushed = asyncio.run(push(config))
    if json:
        print_json(pushed.as_dict())
    else:
        print_text(f"{pushed.delivered} delivered, {pushed.parked} parked, {pushed.due} due")
    if pushed.error is not None:
        raise pushed.error
    if pushed.parked:
        noun = "delivery was" if pushed.parked == 1 else "deliveries were"
        raise Conflict(f"{pushed.parked} {noun} parked", "`aorch trace status` shows the reason.")


def _lines(found: dict[str, Any]) -> list[str]:
    origin = "" if found["configured"] or found["url"] is None else " (default)"
    from aorch.cli.render.times import shown_time

    due = "due" if found["url"] else "not sent"
    lines = [
        f"trace      {found['url'] or 'off'}{origin}",
        f"contracts  {found['due']} {due}, {found['delivered']} delivered, {found['parked']} parked",
    ]
    if found["parked_nodes"]:
        lines.append(f"nodes      {found['parked_nodes']} parked (provenance)")
    if delivering := found["delivering"]:
        waits = delivering["waiting_s"]
        lines.append(
            f"delivering process {delivering['pid']}{'' if waits is None else f', waiting for Trace for {waits:g} s'}"
        )
    if last := found["last_error"]:
        again = f"; next attempt in {last['next_in_s']:.0f} s" if last["next_in_s"] else ""
        outcome = f"{last['failures']} in a row{again}" if last["failures"] else "deliveries have succeeded since"
        lines.append(f"last error {shown_time(last['at'])} {last['error']} ({outcome})")
    return lines + _parked(found)


def _parked(found: dict[str, Any]) -> list[str]:
    """Each parked delivery, or their number by kind if there are more than MAX_LISTED."""
    if sum(each["deliveries"] for each in found["parked_summary"]) <= MAX_LISTED:
        return [
            f"{each['state']:<10} {each['contract_id']} {each['kind']} in {each['session_id']!r}: {each['reason']}"
            for each in found["parked_deliveries"]
        ]
    return [
        f"{each['state']:<10} {each['deliveries']} × {each['kind']}, first {each['contract_id']}: {each['reason']}"
        for each in found["parked_summary"]
    ]


def _differences(found: dict[str, Any]) -> list[str]:
    lines = [
        f"{found['equal']} equal, {len(found['due'])} due, {len(found['parked'])} parked, {found['others']} from other programs"
    ]
    for name in ("missing_there", "missing_here", "doubled", "out_of_order"):
        lines += [f"{name.replace('_', ' '):<14} {contract_id}" for contract_id in found[name]]
    lines += [f"{'different':<14} {each['contract_id']}: {', '.join(each['fields'])}" for each in found["different"]]
    return lines

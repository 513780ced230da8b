"""`aorch trace`: deliveries to Trace."""

from typing import Annotated, Any

import typer

from aorch.cli.options import JsonOption, LedgerOption, complete_sessions

FEW = 10
"""So many parked deliveries are listed one by one."""

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Deliver contracts to Trace, and see how that stands."
)


@app.command(epilog="Exit code: 0 all is delivered, 3 Trace did not do its part, 13 a delivery was parked, 14 ledger.")
def push(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Deliver all that is due, now. For cron, where no service does it.

    \b
    Examples:
      aorch trace push
      aorch trace push --json
    """
    from aorch.config import settings

    _push(settings.load(ledger), json)


@app.command()
def status(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Show what is due, delivered and parked, who delivers now, and the last error. Trace itself is not asked.

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


@app.command(epilog="Exit code: as of push; 12 no such parked delivery.")
def retry(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Contracts, by how their ids begin; else all parked.")
    ] = None,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Deliver again what was parked, and whatever else is due.

    One that may have arrived (`unknown`) is looked for first; where Trace does not read its session back, it is sent, on
    your word.

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
    epilog="Exit code: 0 nothing differs, 3 Trace cannot read it back, 12 the ledger has no such session, 13 it differs.",
)
def import_(
    session: Annotated[str, typer.Argument(help="The session.", autocompletion=complete_sessions)],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Read a session back from Trace and report what differs from the ledger. Nothing is changed.

    A session that may have passed 64 KiB in Trace is refused: Trace does not read it back, and may break if it is asked to.

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
        raise Conflict(f"session {session!r} differs in Trace and in the ledger")


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
        raise Conflict(f"{pushed.parked} deliveries were parked", "See `aorch trace status`.")


def _lines(found: dict[str, Any]) -> list[str]:
    said = "" if found["configured"] or found["url"] is None else " (nobody said so: the default)"
    lines = [
        f"trace      {found['url'] or 'not in use'}{said}",
        f"contracts  {found['due']} due, {found['delivered']} delivered, {found['parked']} parked",
    ]
    if found["parked_nodes"]:
        lines.append(f"nodes      {found['parked_nodes']} parked (provenance)")
    if delivering := found["delivering"]:
        waits = delivering["waiting_s"]
        lines.append(
            f"delivering process {delivering['pid']}{'' if waits is None else f', awaits an answer for {waits:g} s'}"
        )
    if last := found["last_error"]:
        again = f"; tried again in {last['next_in_s']:.0f} s" if last["next_in_s"] else ""
        how = f"{last['failures']} in a row{again}" if last["failures"] else "it went well since"
        lines.append(f"last error {last['at']} {last['error']} ({how})")
    return lines + _parked(found)


def _parked(found: dict[str, Any]) -> list[str]:
    """Each parked delivery if they are few, else how many there are of each kind."""
    if sum(each["deliveries"] for each in found["parked_summary"]) <= FEW:
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
        f"{found['equal']} equal, {len(found['due'])} due, {len(found['parked'])} parked, {found['others']} not aorch's"
    ]
    for name in ("missing_there", "missing_here", "doubled", "out_of_order"):
        lines += [f"{name.replace('_', ' '):<14} {contract_id}" for contract_id in found[name]]
    lines += [f"{'different':<14} {each['contract_id']}: {', '.join(each['fields'])}" for each in found["different"]]
    return lines

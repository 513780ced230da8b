"""`aorch otel`: export spans to an OpenTelemetry receiver."""

from typing import Annotated, Any

import typer

from aorch.cli.options import JsonOption, LedgerOption

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Export spans to an OpenTelemetry receiver, and show what is due."
)


@app.command(
    epilog="Exit code: 0 everything is exported, 3 the receiver failed or is not reachable, 13 it rejected spans."
)
def push(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Export the spans of all exchanges that have ended. Use it from cron if no `aorch serve` is running.

    \b
    Examples:
      aorch otel push
      aorch otel push --json
    """
    import asyncio

    import aorch
    from aorch.cli.render.console import print_json, print_text
    from aorch.config import settings
    from aorch.errors import Conflict
    from aorch.telemetry import span_export

    pushed = asyncio.run(span_export.push(settings.load(ledger), aorch.__version__))
    if json:
        error = None if pushed.error is None else str(pushed.error)
        counts = {"exported": pushed.exported, "rejected": pushed.rejected, "due": pushed.due}
        print_json({**counts, "exporting_elsewhere": pushed.elsewhere, "error": error})
    elif pushed.elsewhere:
        print_text(f"another process is exporting; {pushed.due} contracts are due")
    else:
        print_text(f"{pushed.exported} exported, {pushed.due} due")
    if pushed.error is not None:
        raise pushed.error
    if pushed.rejected:
        raise Conflict(f"the receiver rejected {pushed.rejected} spans", "`aorch otel status` shows the reason.")


@app.command()
def status(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Show the receiver, how many contracts are due, and the last error. The command does not contact the receiver.

    \b
    Examples:
      aorch otel status
      aorch otel status --json
    """
    from aorch.cli.render.console import print_json, print_text
    from aorch.config import settings
    from aorch.telemetry import span_export

    found = span_export.status(settings.load(ledger))
    if json:
        return print_json(found)
    print_text("\n".join(_lines(found)))


@app.command()
def skip(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it (default: only show how many contracts are due).")
    ] = False,
    ledger: LedgerOption = None,
) -> None:
    """Leave out the exchanges so far, and export only later ones. Use it before the first export of an old ledger.

    \b
    Examples:
      aorch otel skip
      aorch otel skip --yes
    """
    import aorch
    from aorch.cli.render.console import print_text
    from aorch.config import settings
    from aorch.telemetry import span_export

    config = settings.load(ledger)
    span_export.check_configured(config)
    if yes:
        print_text(f"{span_export.skip(config, aorch.__version__)} contracts left out")
    else:
        print_text(f"{span_export.status(config)['due']} contracts would be left out; run it again with --yes")


def _lines(found: dict[str, Any]) -> list[str]:
    from aorch.cli.render.times import shown_time

    lines = [f"receiver   {found['endpoint'] or 'off'}"]
    if found["endpoint"]:
        lines += [f"contracts  {found['due']} due", f"content    {'exported' if found['content'] else 'not exported'}"]
    if found["exporting"]:
        lines.append("a process is exporting now")
    if last := found["last_error"]:
        again = f"; next attempt in {last['next_in_s']:.0f} s" if last["next_in_s"] else ""
        outcome = f"{last['failures']} in a row{again}" if last["failures"] else "exports have succeeded since"
        lines.append(f"last error {shown_time(last['at'])} {last['error']} ({outcome})")
    if found["rejected"]:
        lines.append(f"rejected   {found['rejected']} spans, the last one: {found['last_rejection']}")
    return lines

"""`aorch status`: a summary of the ledger, agents and services."""

from typing import Any

import typer

from aorch.cli.options import SHOWS_EMPTY, JsonOption, LedgerOption, warn_of_missing

app = typer.Typer(add_completion=False)


@app.command()
def status(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Show a summary of the ledger, agents and services.

    \b
    Examples:
      aorch status
      aorch status --json
    """
    import asyncio

    from aorch import bootstrap
    from aorch.cli.render.console import print_json, print_text
    from aorch.cli.streams import set_aside
    from aorch.config import settings
    from aorch.engine.recovery import recover
    from aorch.govern.status_summary import summary
    from aorch.ledger.reader import Reader

    config = settings.load(ledger)
    warn_of_missing(config.ledger, ledger, SHOWS_EMPTY)
    with Reader(recover(config.ledger)) as reader:
        counts = reader.counts()
    set_aside()
    agents = [registered.as_dict() for registered in bootstrap.all_agents(config)]
    found = asyncio.run(summary(config, agents, counts))
    if json:
        return print_json(found)
    print_text("\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    agents, contracts = found["agents"], found["contracts"]
    lines = [
        f"ledger     {found['ledger']}",
        f"config     {found['configuration'] or 'none (no aorch.toml was found)'}",
        f"agents     {agents['total']}: {_counted(agents['by_status'])}",
        f"contracts  {contracts['total_contracts']} in {_sessions(contracts['total_sessions'])}{_after(contracts['by_status'])}",
    ]
    for name in ("trace", "memagent"):
        lines.append(f"{name:<9}  {_service(found['integrations']['details'][name])}")
    return lines


def _sessions(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'}"


def _service(service: dict[str, Any]) -> str:
    if service["url"] is None:
        return "off"
    delivered = service.get("delivered") or service.get("parked")
    deliveries = (
        f": {service['due']} due, {service['delivered']} delivered, {service['parked']} parked" if delivered else ""
    )
    return f"{'running' if service['listening'] else 'not running'} at {service['url']} (optional){deliveries}"


def _after(by_status: dict[str, int]) -> str:
    return f": {_counted(by_status)}" if by_status else ""


def _counted(by_status: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(by_status.items()))

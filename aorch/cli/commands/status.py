"""`aorch status`: a summary of the ledger, agents and services."""

from typing import Any

import typer

from aorch.cli.options import JsonOption, LedgerOption

app = typer.Typer(add_completion=False)


@app.command()
def status(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Show a summary of the ledger, agents and services.

    \b
    Examples:
      aorch status
      aorch status --json
    """
    from aorch.cli.render.console import print_json, print_lines
    from aorch.cli.service_source import open_service

    with open_service(ledger) as service:
        found = service.status()
    if json:
        return print_json(found)
    print_lines(_lines(found))


def _lines(found: dict[str, Any]) -> list[str]:
    agents, contracts, exchanges = found["agents"], found["contracts"], found["exchanges"]
    lines = [
        f"ledger     {found['ledger']}",
        f"config     {found['configuration'] or 'none (no aorch.toml was found)'}",
        f"agents     {agents['total']}: {_counted(agents['by_status'])}",
        f"exchanges  {exchanges['total']} in {_sessions(contracts['total_sessions'])}{_after(exchanges['by_status'])}",
        f"contracts  {contracts['total_contracts']}",
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

"""Ledgers with sessions in them, for tests of compression and memory."""

from pathlib import Path
from typing import Any

from homes import Home
from memory_sessions import Contract, Session, operations

from aorch import jsonio
from aorch.ledger.importing import ImportCounts


def incident_4711() -> list[Contract]:
    """The session `incident-4711`, without its last REQUEST, which is unanswered."""
    *answered, last = operations()
    assert last["status"] == "pending"
    return answered


def lines(contracts: list[Contract]) -> str:
    """Contracts as the input of `aorch contracts import`."""
    return "".join(f"{jsonio.encode(contract)}\n" for contract in contracts)


def take_in(home: Home, contracts: list[Contract]) -> None:
    """Import `contracts` into the ledger of that home."""
    put(home.ledger, contracts, home.folder)


def put(ledger: Path, contracts: list[Contract], folder: Path) -> ImportCounts:
    """Import `contracts` into the ledger at that path."""
    from aorch.ledger.transfer import import_contracts

    file = folder / "to-import.jsonl"
    file.write_text(lines(contracts))
    return import_contracts(ledger, file)


def many_sessions(count: int, calls: int = 3) -> list[Contract]:
    """`count` sessions of `calls` exchanges each, named s0000 and so on."""
    contracts: list[Contract] = []
    for number in range(count):
        session = Session(f"s{number:04d}")
        for call in range(calls):
            payload = {"order_id": f"order-{number}-{call}", "note": "please be quick"}
            session.calls("clerk", "shop", "ship_order", payload, {"shipped": f"parcel-{number}-{call}"})
        contracts += session.contracts
    return contracts


def blocks(home: Home) -> list[dict[str, Any]]:
    """All blocks of the ledger in their JSON form, by session, oldest first."""
    exported = home.aorch("memory", "export")
    assert exported.code == 0, exported.err
    return [jsonio.decode(line) for line in exported.out.splitlines()]


def compressed(home: Home, *arguments: str) -> dict[str, Any]:
    """The JSON output of `aorch compress`."""
    done = home.aorch("compress", *arguments, "--json")
    assert done.code == 0, done.err
    answer: dict[str, Any] = done.json
    return answer


def verified(home: Home) -> None:
    """Assert that every block verifies."""
    done = home.aorch("memory", "verify", "--all")
    assert done.code == 0, done.out + done.err

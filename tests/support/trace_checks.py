"""What the tests of Trace run and compare."""

from typing import Any

from homes import Home, Result
from trace_double import Double


def expected(home: Home) -> list[str]:
    """The idempotency keys of all contracts in the ledger, in order."""
    rows = home.rows("SELECT contract_id, lower(contract_type) FROM contracts ORDER BY position")
    return [f"{contract_id}:contract.{kind}" for contract_id, kind in rows]


def push(home: Home, code: int = 0) -> Result:
    done = home.aorch("trace", "push")
    assert done.code == code, done
    return done


def status(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = home.aorch("trace", "status", "--json").json
    return found


def counts(home: Home) -> tuple[int, int, int]:
    """The numbers of due, delivered and parked contracts."""
    found = status(home)
    return found["due"], found["delivered"], found["parked"]


def assert_each_delivered_once(home: Home, double: Double) -> None:
    assert double.keys == expected(home)
    asked = home.rows("SELECT contract_id FROM contracts WHERE contract_type = 'REQUEST' ORDER BY position")
    assert [node["node_id"] for node in double.nodes] == [contract_id for (contract_id,) in asked]
    assert counts(home) == (0, len(expected(home)), 0)
    assert double.collisions == []

"""The steps of a pipeline that its earlier tries executed, so that a later one can use their results again."""

import hashlib
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.ledger.contract_metadata import erasure_mark
from aorch.ledger.database import Connection, statements


class TriedStep(NamedTuple):
    """The REQUEST of a step. `key` is its `step_key`, and `is_running`: it is queued or running in this ledger."""

    contract_id: str
    to_agent: str | None
    capability: str
    status: str
    is_running: bool
    is_erased: bool
    key: str


def step_key(step: Any, index: Any, capability: str, payload: str) -> str:
    """Equal for equal tasks of a pipeline. A digest, because there can be tens of thousands of long payloads (JSON text)."""
    about = jsonio.encode([step, index, capability])
    return hashlib.sha256(f"{about}{payload}".encode()).hexdigest()


def tried_steps(connection: Connection, contract_id: str, from_agent: str) -> list[TriedStep]:
    """The REQUESTs that `from_agent` delegated below that REQUEST, and below its other tries, the oldest first."""
    found = []
    rows = connection.execute(statements.STEPS_OF_TRIES, (contract_id, from_agent))
    for step_id, to_agent, capability, payload, status, running, metadata in rows:
        about = jsonio.decode(metadata)
        key = step_key(about.get("step"), about.get("index"), capability, payload)
        is_erased = erasure_mark(about) is not None
        found.append(TriedStep(step_id, to_agent, capability, status, bool(running), is_erased, key))
    return found

"""Files of contracts for the tests of export and import."""

import io
import json
from datetime import UTC
from pathlib import Path
from typing import Any

from hypothesis import strategies as some

from aorch import jsonio
from aorch.clock import rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import Record
from aorch.ledger.transfer import export_contracts


def exported(ledger: LedgerLocation, form: str = "jsonl", which: Filter | None = None) -> bytes:
    out = io.BytesIO()
    with Reader(ledger) as reader:
        export_contracts(reader, which or Filter(), form, out)
    return out.getvalue()


def write(path: Path, *forms: Any) -> Path:
    """A JSONL file of contracts. A string is a line as it is, any other value is written as JSON."""
    forms = tuple(form.as_dict() if isinstance(form, Record) else form for form in forms)
    lines = [form if isinstance(form, str) else json.dumps(form) for form in forms]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    return path


def old(contract_id: str, contract_type: str = "REQUEST", **more: Any) -> dict[str, Any]:
    """A contract as the older JSON store wrote it."""
    return {
        "contract_id": contract_id,
        "session_id": "session_001",
        "contract_type": contract_type,
        "from_agent": "orchestrator",
        "to_agent": "agent_example_001",
        "capability": "echo",
        "payload": {"text": "hi"},
        "status": "completed",
        "created_at": "2025-10-30T17:41:07.123456",
        **more,
    }


name = some.text(some.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=30)
values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=6,
)
objects = some.dictionaries(some.text(), values, max_size=3)
moments = some.datetimes(timezones=some.just(UTC)).map(rfc3339)
rows = some.builds(
    Record,
    contract_id=name,
    session_id=name,
    contract_type=some.sampled_from(["REQUEST", "RESPONSE"]),
    from_agent=name,
    to_agent=some.none() | name,
    capability=name,
    payload=objects.map(jsonio.encode),
    status=some.sampled_from(["pending", "in_progress", "completed", "failed", "cancelled", "interrupted"]),
    created_at=moments,
    completed_at=some.none() | moments,
    result=some.none() | values.map(jsonio.encode),
    error=some.none() | some.text().map(jsonio.storable_text),
    metadata=objects.map(jsonio.encode),
    request_id=some.none(),
    parent_id=some.none() | name,
    claimed_by=some.none() | name,
)

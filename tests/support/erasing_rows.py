"""Contracts with a needle, all copies that the ledger makes of it, and a search for its bytes."""

from ledger_state import stored_bytes
from ledgers import opened
from rows import pairs, put, request, response

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.govern.erasure import ErasurePlan, ErasureResult, ErasureSelection, erase, plan_erasure
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import Record
from aorch.memory.erased_claims import without_erased

NEEDLE = "sk-live-needle4711"
MOMENT = "2026-01-01T00:00:00.000Z"


def erased(ledger: LedgerLocation, **selection: object) -> tuple[ErasurePlan, ErasureResult]:
    """Erase what `selection` selects, as `ann`."""
    which = ErasureSelection(**selection)  # type: ignore[arg-type]  # the fields of the class
    plan = plan_erasure(ledger, which)
    return plan, erase(ledger, which, plan, "ann", "leaked", without_erased)


def contains(ledger: LedgerLocation, text: str = NEEDLE) -> bool:
    """Whether the ledger's files contain that text, or the words of it that a full-text index has."""
    found = stored_bytes(ledger).lower()
    return any(part.encode() in found for part in (text.lower(), text.lower().rpartition("-")[2]))


def needles(ledger: LedgerLocation, count: int = 1) -> list[Record]:
    """Put `count` exchanges with the needle between others, with all copies that the ledger can make of them."""
    rows = [
        row
        for number in range(count)
        for asked in [
            request("leak", f"{NEEDLE} {number}", metadata=jsonio.encode({"custom": {"note": NEEDLE}, "context": {}}))
        ]
        for row in (asked, response(asked, {"echo": f"{NEEDLE} {number}"}))
    ]
    failed = request("leak", "harmless", status="failed")
    rows += [failed, response(failed)._replace(result=None, error=f"rejected {NEEDLE}")]
    put(ledger, *pairs(40, "other"), *rows, *pairs(40, "other"))
    asked = rows[0].contract_id
    with opened(ledger) as connection:
        for table, values in (
            ("attempts", (asked, 1, "agent_example_001", MOMENT, MOMENT, "agent_lost", f"lost {NEEDLE}")),
            ("task_progress", (asked, MOMENT, jsonio.encode({"step": NEEDLE}))),
            ("webhooks", (asked, f"https://example.org/{NEEDLE}", 0, None, None)),
            ("idempotency_keys", ("", "key-1", "f" * 64, asked)),
            ("batch_lines", ("01GENERATION", f"{NEEDLE}:0123", asked)),
            ("parked_deliveries", (81, "contract.request", asked, "leak", "refused", NEEDLE, 1, MOMENT)),
        ):
            marks = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", values)
    with Reader(ledger) as reader:
        assert len(reader.page(Filter(text=NEEDLE), limit=None)) >= 2 * count
    return rows

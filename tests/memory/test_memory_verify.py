"""`memory verify` fails on each wording of the local compressor that contradicts the contracts, and on no other."""

from typing import Any

import pytest
from local_blocks import block_of, faults
from memory_sessions import Session
from msgspec.structs import replace

from aorch import jsonio
from aorch.memory.block import from_dict


def ended(s: Session, capability: str, payload: Any, status: str, error: str) -> None:
    """A call that did not succeed."""
    s.answers(s.asks("bot", "tool", capability, payload), None, error=error)
    for contract in s.contracts[-2:]:
        contract["status"] = status


def service() -> Session:
    """A session with failed, cancelled and later successful calls, a decision, and an unanswered question."""
    s = Session()
    first = s.asks("ann", "bot", "assist", {"text": "Book flight HAT001 to Oslo. We decided to fly in the morning."})
    s.calls("bot", "tool", "search_flights", {"flight": "HAT001"}, {"id": "S-1"})
    ended(s, "pay_invoice", {"invoice": "i-1"}, "failed", "no money")
    ended(s, "pay_invoice", {"invoice": "i-1"}, "failed", "no money")
    s.calls("bot", "tool", "pay_invoice", {"invoice": "i-1"}, {"paid": "P-1"})
    ended(s, "pay_invoice", {"invoice": "i-2"}, "cancelled", "stopped by ann")
    s.answers(first, {"text": "The flight was booked as QK03. The cause of the delay was the bank."})
    s.asks("ann", "bot", "assist", {"text": "Please now book the hotel H-9 as well."})
    return s


REWORDED = {
    "a count dropped from the summary": (". 2 failed", ""),
    "another count of a capability in the summary": ("pay_invoice ×4", "pay_invoice ×3"),
    "no count of an end": ('"failed":2,', ""),
    "no count of an agent": (',"ann":2', ""),
    "ends that are not counted": ('"ends":{"completed":3,"failed":2,"cancelled":1}', '"ends":null'),
    "another first contract": ('"first_created_at":"2026', '"first_created_at":"2025'),
    "another number of failures": ("failed ×2: «no money»", "failed ×3: «no money»"),
    "fewer failures": ("failed ×2: «no money»", "failed: «no money»"),
    "cancelled called failed": ("i-2 was cancelled", "i-2 failed"),
    "failed called cancelled": ("i-1 failed ×2", "i-1 was cancelled ×2"),
    "other words of a quotation": ("«We decided to fly in the morning.»", "«We decided to stay at home.»"),
    "another speaker": ("ann: «We decided", "bob: «We decided"),
    "another result": ("invoice i-1 → P-1", "invoice i-1 → P-2"),
    "open called answered": (", not answered", ", answered"),
    "a quotation that is not shown": ('["HAT001","S-1"]', '["HAT001","S-1","completed"]'),
}
MOVED = [
    ("failures", "decisions"), ("failures", "results"), ("decisions", "failures"), ("aims", "open_points"),
    ("open_points", "aims"), ("results", "preferences"), ("open_points", "results"), ("results", "failures"),
]  # fmt: skip


def test_verify_fails_on_each_wrong_wording() -> None:
    s = service()
    block = block_of(s.contracts, max_tokens=1500)
    assert faults(block, s.contracts) == []
    written = jsonio.encode(block.as_dict())
    for name, (right, wrong) in REWORDED.items():
        assert right in written, name
        assert faults(from_dict(jsonio.decode(written.replace(right, wrong))), s.contracts), name
    for section, other in MOVED:
        kept = getattr(block, section)
        moved = replace(block, **{section: kept[1:], other: (*getattr(block, other), kept[0])})
        assert faults(moved, s.contracts), (section, other)
    assert faults(replace(block, summary=""), s.contracts)
    assert faults(replace(block, answered_before=(s.contracts[0]["contract_id"],)), s.contracts)


def test_verify_passes_if_contracts_contain_the_phrases_and_quotation_marks_of_claims() -> None:
    s = Session()
    for odd in (
        "×2",
        "«x» y",
        "was cancelled ×3: «a»",
        "not answered",
        "wait …",
        "**bold** text",
        "`f(**a)`",
        "ann: «hi»",
    ):
        s.calls("tool: «x»", "bot", "a «b» ×2", {"name": odd, "size": 1e16}, {"id": odd, "note": f"{odd} or so"})
        ended(s, "failed: x", {"name": odd}, "failed", f"{odd} then")
        s.says("ann", "bot", odd, f"It is {odd}, that is. Is it {odd}?")
    s.asks("ann", "tool: «x»", "deploy", {"name": "a… b", "note": "×2"})
    for size in (100, 500, 5000):
        assert faults(block_of(s.contracts, max_tokens=size), s.contracts) == []


@pytest.mark.parametrize(
    "piece",
    [
        *("Traceback (most recent call last):\n", "</a>", "$(stderr: … ", "error: exit code 0\n", "http://<a>```\n"),
        'diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n{"a": ""x y ? ',
    ],
)
def test_verify_passes_if_a_text_only_repeats_itself(piece: str) -> None:
    text = (piece * 4000)[:20_000]
    s = Session()
    asked = s.asks("ann", "bot", "solve", {"text": f"Please do it: {text}"})
    s.calls("bot", "coder", "speak", {}, {"text": f"See:\n```python\n{text}\n```\n{text[:300]}"})
    s.calls("bot", "shell", "edit_file", {"path": "x.py", "text": text, "old": text[::-1]}, {"output": text})
    s.calls("bot", "shell", "bash", {"command": text}, error=text)
    s.answers(asked, {"text": text})
    assert not list(faults(block_of(s.contracts), s.contracts))

"""The local compressor: the content, the wording and the limits of a memory."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_blocks import block_of, citation_faults
from memory_sessions import Contract, Session, analysis, operations, review

from aorch import jsonio
from aorch.memory.block import BlockRequest
from aorch.memory.local.local_compressor import compress_locally
from aorch.memory.prompt import prompt_text


def text_of(contracts: list[Contract], max_tokens: int = 512) -> str:
    return prompt_text([block_of(contracts, max_tokens=max_tokens)], max_tokens)[0]


SESSIONS = pytest.mark.parametrize("session", [operations, review, analysis])


@SESSIONS
def test_every_quotation_is_in_a_cited_contract(session: Callable[[], list[Contract]]) -> None:
    contracts = session()
    block = block_of(contracts)
    assert citation_faults(block, contracts) == []
    assert all(claim.contract_ids for _, claim in block.claims())


@SESSIONS
def test_the_same_contracts_give_the_same_block(session: Callable[[], list[Contract]]) -> None:
    contracts = session()
    assert block_of(contracts) == block_of(contracts)


@SESSIONS
@pytest.mark.parametrize("max_tokens", [128, 256, 512, 1024])
def test_a_prompt_of_the_block_s_own_size_contains_the_whole_block(
    session: Callable[[], list[Contract]], max_tokens: int
) -> None:
    block = block_of(session(), max_tokens=max_tokens)
    text, cites = prompt_text([block], max_tokens)
    assert len(text) <= 4 * max_tokens
    assert block.size.tokens_after == -(-len(text) // 4)
    assert block.size.counted == "4 characters a token"
    assert set(cites) == {identity for _, claim in block.claims() for identity in claim.contract_ids}


def test_the_memory_of_operations_contains_actions_failures_and_open_points() -> None:
    text = text_of(operations())
    for told in (
        "Aim: «Roll out payments 2.8.1 to production.",
        "never touch the eu-west-1 cluster",
        "rollback_deployment (kube) name payments, namespace prod, to_revision 41 → revision 42",
        "ticket OPS-3391",
        'permission denied: role "operator" cannot alter system',
        "payments.pool.PoolTimeout: no connection to postgres-7.prod.internal:5432 within 2000 ms",
        "request_approval (approvals) role dba, change max_connections=250, host postgres-7: no response",
        "set it to 250 instead, and only after 22:00 UTC",
        "because the connection pool was exhausted",
    ):
        assert told in text


def test_a_value_that_changed_between_two_calls_is_shown_with_the_change() -> None:
    text = text_of(operations(), 430)
    assert (
        "query_latency (metrics) ×3 service payments, window 5m: p95_ms 212 → 1840 → 208, error_rate 0.2% → 12.5%"
        in text
    )


def test_the_memory_of_a_review_contains_commands_paths_and_commits() -> None:
    text = text_of(review(), 350)
    for told in (
        "commit (git) message «Names in archives are UTF-8», files src/packer/paths.py → c41d7e90b2",
        "run (shell) with «pytest -q tests/test_paths.py» failed: «E   UnicodeEncodeError: 'ascii' codec",
        "; the same went well later",
        "«remote rejected: protected branch hook declined»",
        "Don't change the public API",
    ):
        assert told in text


def test_the_memory_of_an_analysis_contains_other_languages() -> None:
    text = text_of(analysis())
    assert "Session 数据-2026" in text
    assert "Andalucía tuvo más ventas: 1.204.311,50 EUR, frente a 1.198.220,10 EUR en Cataluña." in text
    assert 'Binder Error: Referenced column "año" not found' in text
    assert "drop_rows (cleaner) table ventas, where «region IS NULL» → 412" in text


def test_half_the_tokens_still_contain_all_failures_and_decisions() -> None:
    text = text_of(operations(), 256)
    for told in ("PoolTimeout", "cannot alter system", "rollback_deployment", "OPS-3391", "Roll out payments 2.8.1"):
        assert told in text


def test_a_repeated_error_is_one_claim_with_a_count() -> None:
    s = Session()
    for _ in range(7):
        s.calls("a", "b", "fetch_page", {"url": "https://example.org/x"}, None, "HTTP 503 Service Unavailable")
    block = block_of(s.contracts)
    assert len(block.failures) == 1
    assert (
        "fetch_page (b) with url https://example.org/x failed ×7: «HTTP 503 Service Unavailable»"
        in block.failures[0].text
    )
    assert "went well later" not in block.failures[0].text


def test_the_success_of_another_command_does_not_count_as_a_later_success() -> None:
    s = Session()
    s.calls("a", "shell", "run", {"command": "make release"}, None, "make: *** [Makefile:12: all] Error 2")
    s.calls("a", "shell", "run", {"command": "ls -la"}, {"stdout": "total 4"})
    assert "went well" not in text_of(s.contracts)
    s.calls("a", "shell", "run", {"command": "make release"}, {"stdout": "done"})
    assert "Error 2»; the same went well later" in text_of(s.contracts)


def test_hundreds_of_failures_leave_space_for_the_other_sections() -> None:
    s = Session()
    aim = s.asks("ann", "bot", "assist", {"text": "Move all customers to the new plan, but keep invoices in USD."})
    for n in range(300):
        s.calls(
            "bot", "crm", "update_customer", {"customer": f"C-{n}"}, None, f"customer C-{n} is locked since {n} minutes"
        )
        s.calls("bot", "crm", "update_customer", {"customer": f"D-{n}"}, {"plan": "new"})
    s.answers(aim, {"text": "The final result: 300 of 600 customers were moved, 300 are locked."})
    block = block_of(s.contracts)
    text, _ = prompt_text([block], 512)
    assert "C-299 is locked" in text
    assert "D-299" in text
    assert "300 of 600 customers were moved" in text
    assert block.left_out["failures"].count > 50
    assert block.left_out["failures"].contract_ids
    assert 0 < block.quality < 1


def test_exact_strings_take_at_most_a_quarter_of_the_prompt() -> None:
    s = Session()
    for n in range(40):
        s.calls("a", "b", "list_parts", {"page": n}, {"parts": [f"PX-{n}-{k}0{k}" for k in range(12)]})
    for max_tokens in (256, 512, 1024):
        text, _ = prompt_text([block_of(s.contracts, max_tokens=max_tokens)], max_tokens)
        listed = next((line for line in text.splitlines() if line.startswith("Also named:")), "")
        assert len(listed) <= max_tokens + len("Also named: ")


def test_sizes_and_the_range_of_contracts_are_recorded() -> None:
    contracts = operations()
    block = block_of(contracts)
    assert block.covered.count == len(contracts) == 22
    assert block.covered.first_contract_id == contracts[0]["contract_id"]
    assert block.covered.last_contract_id == contracts[-1]["contract_id"]
    assert block.size.tokens_before == -(-sum(len(jsonio.encode(c)) for c in contracts) // 4)
    assert block.size.ratio == round(block.size.tokens_before / block.size.tokens_after, 2)
    assert block.agents["operator"] == 11
    assert block.capabilities["query_latency"] == 3
    assert (block.compressor.name, block.compressor.model) == ("local", "")


def test_the_intent_is_stored_and_decides_what_is_kept_first() -> None:
    s = Session()
    aim = s.asks("ann", "bot", "assist", {"text": "Look at the whole system please, all of it, and report."})
    for n in range(60):
        report = f"The disk of node {n} is in order and its pressure was found to be normal."
        s.calls("bot", "probe", "examine", {"text": f"Tell me about node {n} in some words"}, {"text": report})
    certificate = {"text": "The certificate of the gateway was found to expire on Friday."}
    s.calls("bot", "probe", "examine", {"text": "Tell me about the gateway in some words"}, certificate)
    for n in range(60, 120):
        report = f"The disk of node {n} is in order and its pressure was found to be normal."
        s.calls("bot", "probe", "examine", {"text": f"Tell me about node {n} in some words"}, {"text": report})
    s.answers(aim, {"text": "Done."})
    block = block_of(s.contracts, intent="renew the certificate of the gateway", max_tokens=256)
    text, _ = prompt_text([block], 256)
    assert block.intent == "renew the certificate of the gateway"
    assert "Wanted for: «renew the certificate of the gateway»" in text
    assert "expire on Friday" in text


@pytest.mark.parametrize("kept", ["REQUEST", "RESPONSE"])
def test_only_requests_or_only_responses_make_a_block(kept: str) -> None:
    contracts = [c for c in operations() if c["contract_type"] == kept]
    block = block_of(contracts)
    assert citation_faults(block, contracts) == []
    assert block.covered.count == len(contracts)
    assert "payments" in prompt_text([block], 512)[0]


def test_no_contracts_make_an_empty_block() -> None:
    block = block_of([], session_id="nothing-yet")
    assert (block.session_id, block.covered.count, block.quality, list(block.claims())) == ("nothing-yet", 0, 1.0, [])
    text, cites = prompt_text([block], 512)
    assert "nothing-yet" in text
    assert cites == ()


def test_one_contract_makes_a_block() -> None:
    contracts = operations()[:1]
    block = block_of(contracts)
    assert block.intent.startswith("Roll out payments 2.8.1")
    assert citation_faults(block, contracts) == []


def test_only_failures_make_a_block() -> None:
    s = Session()
    s.calls("a", "b", "compile", {"file": "main.c"}, None, "main.c:7:3: error: expected ';' before '}' token")
    s.calls("a", "b", "compile", {"file": "util.c"}, None, {"code": 7, "why": "undeclared identifier 'x'"})
    text = text_of(s.contracts)
    assert "main.c:7:3: error: expected ';' before '}' token" in text
    assert "undeclared identifier 'x'" in text


def test_of_chained_exceptions_the_first_and_the_last_are_shown() -> None:
    error = (
        'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\n    open(x)\n'
        "FileNotFoundError: [Errno 2] No such file or directory: 'x'\n\n"
        "During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n"
        '  File "a.py", line 5, in <module>\n    raise SetupError("no x")\nsetup.SetupError: no x\n'
    )
    s = Session()
    s.calls("a", "b", "start", {"file": "a.py"}, None, error)
    text = text_of(s.contracts, 110)
    assert "«FileNotFoundError: [Errno 2] No such file or directory: 'x'» then «setup.SetupError: no x»" in text


@pytest.mark.torture
def test_ten_thousand_contracts_take_seconds_and_little_memory() -> None:
    def contracts() -> Iterator[Contract]:
        s = Session()
        for n in range(5000):
            s.contracts.clear()
            error = f"Error: host web-{n % 50} refused" if n % 9 == 0 else None
            payload = {"host": f"web-{n}", "path": f"/srv/{n}/app.conf"}
            s.calls(
                "bot",
                "x",
                ("get_state", "update_host")[n % 2],
                payload,
                {"text": "All went well. " * 20, "n": n},
                error,
            )
            yield from s.contracts

    tracemalloc.start()
    try:
        taken = list(contracts())
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        compress_locally(iter(taken), BlockRequest(block_id="mem_1", created_at=""))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 50 * 2**20
    started = time.process_time()
    compress_locally(iter(taken), BlockRequest(block_id="mem_1", created_at=""))
    assert time.process_time() - started < 20  # on a busy machine; the benchmark has the goal


HOSTILE = {
    "no spaces": "x" * 5_000_000,
    "mixed": "a1" * 1_000_000,
    "dots": "1." * 1_000_000,
    "sentences": ". " * 1_000_000,
    "asterisks": "**" * 1_000_000,
    "lines": "\n" * 5_000_000,
    "escapes": "\x1b[31m" * 500_000,
    "titles": "\x1b]0;" * 500_000,
    "errors": "Error" * 500_000,
    "slashes": "/" * 1_000_000,
    "capitals": "A," * 1_000_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_neither_breaks_nor_slows_the_compressor(text: str) -> None:
    s = Session()
    for n in range(3):
        s.calls("a", "b", "run", {"command": text, "n": n}, {"text": text})
        s.calls("a", "b", "run", {"command": "x", "n": n}, None, text)
        s.says("a", "b", text, text)
    started = time.process_time()
    block = block_of(s.contracts)
    assert time.process_time() - started < 5
    assert citation_faults(block, s.contracts) == []


def test_deep_nesting_does_not_break_the_compressor() -> None:
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    s = Session()
    s.calls("a", "b", "dig", {"deep": deep, "name": "hole-7"}, {"deep": {"er": deep}})
    block = block_of(s.contracts)
    assert "hole-7" in prompt_text([block], 512)[0]
    assert citation_faults(block, s.contracts) == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=12,
)
_payloads = (
    _json | st.fixed_dictionaries({"text": st.text()}) | st.fixed_dictionaries({"id": st.from_regex(r"[A-Z]{2}\d{3}")})
)


@st.composite
def wild(draw: st.DrawFn) -> list[Contract]:
    """Contracts of any content: requests, their responses, and responses to nothing."""
    contracts: list[Contract] = []
    for n in range(draw(st.integers(0, 12))):
        earlier = [c["contract_id"] for c in contracts]
        contracts.append(
            {
                "contract_id": f"01ABCDEFGH{n:016d}",
                "session_id": draw(st.text()),
                "contract_type": draw(st.sampled_from(["REQUEST", "RESPONSE"])),
                "from_agent": draw(st.text(max_size=20)),
                "to_agent": draw(st.none() | st.text(max_size=20)),
                "capability": draw(st.text(max_size=20) | st.sampled_from(["get_x", "update_x", "run", "assist"])),
                "payload": draw(_payloads),
                "status": draw(st.sampled_from(["completed", "failed", "pending", "timeout"]) | st.text(max_size=5)),
                "created_at": draw(st.text(max_size=24)),
                "result": draw(_payloads),
                "error": draw(st.none() | st.text() | _json),
                "metadata": {},
                "request_id": draw(st.none() | st.sampled_from(earlier)) if earlier else None,
                "parent_id": draw(st.none() | st.sampled_from(earlier)) if earlier else None,
            }
        )
    return contracts


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wild(), st.integers(0, 700), st.none() | st.text())
def test_any_contracts_make_a_block_that_verifies_and_fits(
    contracts: list[Contract], max_tokens: int, intent: str | None
) -> None:
    block = block_of(contracts, max_tokens=max_tokens, intent=intent)
    text, cites = prompt_text([block], max_tokens)
    assert len(text) <= 4 * max_tokens
    assert citation_faults(block, contracts) == []
    assert set(cites) <= {contract["contract_id"] for contract in contracts}
    assert all(character.isprintable() or character in "\n " for character in text if ord(character) < 0xA0)
    assert 0 <= block.quality <= 1

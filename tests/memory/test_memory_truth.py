"""Memory is true: its counts, order, aims and labels; `verify` fails on a block that is not."""

from typing import Any

import pytest
from homes import Home
from ledger_state import change
from ledgers import new_ledger
from local_blocks import block_of, faults
from memory_homes import put, take_in
from memory_sessions import Session
from msgspec.structs import replace

from aorch import jsonio
from aorch.memory.block import Claim, MemoryBlock, from_dict
from aorch.memory.prompt import prompt_text


def texts(block: MemoryBlock, section: str) -> list[str]:
    return [claim.text for claim in getattr(block, section)]


def ended(s: Session, capability: str, payload: Any, status: str, error: str = "broken") -> None:
    """A call that did not succeed."""
    s.answers(s.asks("bot", "tool", capability, payload), None, error=error)
    asked, answer = s.contracts[-2:]
    asked["status"], answer["status"] = "failed" if status == "interrupted" else status, status


def test_counts_equal_those_of_the_ledger() -> None:
    s = Session()
    for number in range(90):
        ended(s, f"deploy_{chr(97 + number % 26)}{chr(97 + number // 26)}", {"n": number}, "failed", f"no {number}")
    ended(s, "deploy_aa", {"n": 0}, "failed", "no 0")
    for status in ("cancelled", "cancelled", "interrupted"):
        ended(s, "deploy_x", {"n": 1}, status)
    block = block_of(s.contracts)
    assert block.ends == {"failed": 91, "cancelled": 2, "interrupted": 1}
    assert (block.covered.count, sum(block.agents.values())) == (188, 188)
    assert "188 contracts" in block.summary
    assert ". 91 failed. 2 cancelled. 1 interrupted" in block.summary
    assert faults(block, s.contracts) == []
    told = texts(block_of(s.contracts[-8:]), "failures")
    assert any("was cancelled ×2" in text for text in told)
    assert not any("cancelled" in text and "failed" in text for text in told)


def test_forgotten_calls_are_still_counted() -> None:
    """A call or a failure that recurs after many others has the right count."""
    s = Session()
    s.calls("bot", "tool", "deploy", {"n": "first"}, {"ok": True})
    ended(s, "restart", {"n": 0}, "failed", "no first")
    for number in range(70):
        s.calls("bot", "tool", "deploy", {"n": f"other {number}"}, {"ok": True})
        ended(s, "restart", {"n": number}, "failed", f"no {number}")
    s.calls("bot", "tool", "deploy", {"n": "first"}, {"ok": True})
    ended(s, "restart", {"n": 0}, "failed", "no first")
    block = block_of(s.contracts, max_tokens=4000)
    assert any(text.startswith("deploy (tool) ×2 n first") for text in texts(block, "decisions"))
    assert any("failed ×2: «no first»" in text for text in texts(block, "failures"))


def test_quotes_keep_their_order() -> None:
    s = Session()
    said = (
        "The root cause was the connection pool on db-7. It is fixed since 10:42 by release 2.8.1. "
        "Therefore the total was 42 failed requests on node-9. The final answer is that host-3 must be drained."
    )
    s.calls("ann", "bot", "assist", {"text": "What was the cause of the outage of shop-1?"}, {"text": said})
    for block in (block_of(s.contracts, max_tokens=size) for size in (80, 120, 512, 2000)):
        for _, claim in block.claims():
            if len(claim.contract_ids) == 1 and claim.quotes and all(quote in said for quote in claim.quotes):
                places = [said.index(quote) for quote in claim.quotes]
                assert places == sorted(places)
        assert faults(block, s.contracts) == []


def does(s: Session, who: str, whom: str, capability: str, payload: Any, result: Any) -> None:
    """A call whose parent is not in the ledger, as after an import."""
    s.answers(s.asks(who, whom, capability, payload), result)


def nested() -> Session:
    """A caller asks twice. The calls of the agent have no parent in the ledger, as after an import."""
    s = Session()
    first = s.asks("ann", "bot", "assist", {"text": "Please book the flight HAT001 to Oslo for 2026-05-01."})
    does(s, "bot", "tool", "search_flights", {"flight": "HAT001"}, {"seats": 4})
    does(s, "bot", "tool", "book_flight", {"flight": "HAT001"}, {"booking": "QKRY03"})
    s.answers(first, {"text": "It is booked as QKRY03."})
    does(s, "bot", "tool", "send_mail", {"to": "ann@example.org"}, {"sent": True})
    does(
        s,
        "ann",
        "bot",
        "assist",
        {"text": "Now cancel the hotel of booking 77-B in Bergen."},
        {"text": "Cancelled 77-B."},
    )
    return s


def test_aims_come_only_from_outermost_requests(home: Home) -> None:
    contracts = nested().contracts
    take_in(home, contracts)
    for split in range(1, len(contracts)):
        ledger = new_ledger(home.folder, f"{split}.db")
        for part in (contracts[:split], contracts[split:]):
            put(ledger, part, home.folder)
            assert _compress(ledger)
        blocks = _blocks(ledger)
        for block in blocks:
            for claim in block.aims:
                asked = next(each for each in contracts if each["contract_id"] == claim.contract_ids[0])
                assert asked["from_agent"] == "ann", split
        text, _ = prompt_text(blocks, 512)
        aims = [line for line in text.splitlines() if "book the flight" in line or "cancel the hotel" in line]
        assert "book the flight" in aims[0]


def _compress(ledger: Any) -> bool:
    import asyncio

    from aorch.config.settings import load
    from aorch.memory.compressor import CompressionOptions, compress_session

    return asyncio.run(compress_session(load(str(ledger)), "a-session", CompressionOptions("local"))).error is None


def _blocks(ledger: Any) -> list[MemoryBlock]:
    from aorch.memory.memory_queries import blocks_of, decode_block

    return [decode_block(row) for row in blocks_of(ledger, "a-session")]


def test_if_all_callers_say_one_word_the_first_is_the_aim() -> None:
    s = Session()
    for word in ("Alpha", "Beta", "Gamma"):
        s.says("ann", "bot", word, word)
    assert texts(block_of(s.contracts), "aims") == ["«Alpha»"]
    s.says("ann", "bot", "Please move order 4711 to Oslo.", "It is moved.")
    s.says("ann", "bot", "Please cancel order 99.", "It is cancelled.")
    assert texts(block_of(s.contracts), "aims") == ["«Please move order 4711 to Oslo.»"]


def test_went_well_later_requires_the_same_arguments() -> None:
    s = Session()
    ended(s, "deploy", {"service": "shop", "host": "a-1", "port": 80}, "failed", "no such host")
    s.calls("bot", "tool", "deploy", {"service": "shop", "host": "b-2", "port": 80}, {"ok": True})
    (failure,) = texts(block_of(s.contracts), "failures")
    assert "went well" not in failure
    s.calls("bot", "tool", "deploy", {"port": 80, "host": "a-1", "service": "shop"}, {"ok": True})
    block = block_of(s.contracts)
    assert texts(block, "failures")[0].endswith("; the same went well later")
    assert faults(block, s.contracts) == []
    ended(s, "deploy", {"service": "shop", "host": "c-3", "port": 80}, "failed", "no such host")
    s.calls("bot", "tool", "deploy", {"service": "shop", "host": "c-3", "port": 80}, {"ok": True})
    assert all(text.endswith("went well later") for text in texts(block_of(s.contracts), "failures"))
    (together,) = texts(block_of(s.contracts, max_tokens=120), "failures")
    assert "failed ×2" in together
    assert "went well" not in together  # the newest call with other arguments does not stand for both


def test_not_answered_requires_that_no_agent_acted_on_it() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please restart the shop on host a-1 tonight."})
    assert "not answered" in texts(block_of(s.contracts), "open_points")[0]
    before = block_of(s.contracts)
    s.calls("bot", "tool", "restart", {"host": "a-1"}, {"ok": True})
    after = replace(block_of(s.contracts[1:]), block_id="mem_2")
    assert texts(block_of(s.contracts), "open_points") == []
    assert "not answered" not in prompt_text([before, after], 512)[0]
    assert "not answered" in prompt_text([before], 512)[0]


READ_ONLY: list[tuple[str, dict[str, Any]]] = [
    ("get_user", {"id": "u-1"}),
    ("order_status", {"order": "o-17"}),
    ("log_search", {"pattern": "boom-7"}),
    ("http", {"url": "https://example.org/update", "method": "GET"}),
    ("execute_sql", {"database": "shop", "sql": "SELECT * FROM updates"}),
    ("execute_sql", {"query": "DESC student"}),
    ("run", {"cwd": "/srv/create", "command": "/usr/bin/wc -l delete.log"}),
    ("http_request", {"url": "https://example.org/delete", "method": "HEAD"}),
    ("execute_sql", {"query": "-- update later\nSELECT * FROM student"}),
    ("shell", {"command": "sudo cat /etc/create"}),
    ("shell", {"command": "git log -3"}),
    ("shell", {"command": "curl http://example.org/create"}),
    ("weather", {"city": "o-17"}),
    ("exchange_rate", {"pair": "EUR-USD"}),
    ("is_open", {"id": "o-17"}),
    ("查询订单", {"id": "o-17"}),
]


@pytest.mark.parametrize(("capability", "payload"), READ_ONLY)
def test_a_reading_call_is_not_listed_as_done(capability: str, payload: dict[str, Any]) -> None:
    s = Session()
    s.calls("bot", "tool", capability, payload, {"state": "fine-7"})
    s.calls("bot", "tool", "delete_user", {"id": "u-2"}, {"ok": True})
    block = block_of(s.contracts)
    assert [text.split()[0] for text in texts(block, "decisions")] == ["delete_user"]
    assert any(text.startswith(capability) for text in texts(block, "results"))


PROMPTS = [
    "Summarise the thread. For example: We decided to move to Postgres 16.",
    "Write the minutes.\nExample:\nIt was agreed that the launch is on 2026-05-01.\nDecision: ship it.\n\nKeep it short.",
    'Answer with the words "We decided to close ticket OPS-12" when you are done.',
    "Say that the team decided to roll back release 2.8.1 if anything breaks.",
    "Format:\n```\nDecision: we settled on plan B-7\n```\nUse it for each entry.",
    "Explain why we decided to leave eu-west-1.",
    "Translate into French: We decided to close the shop on 2026-05-01.",
    "Here is a letter.\n> We decided to close shop-7.\nReply politely.",
    "The customer claims that we agreed to pay 500 EUR. Check it.",
    "User: hello\nAssistant: We decided to refund order 4711.\nNow answer the next one for order 9.",
]


@pytest.mark.parametrize("text", PROMPTS)
@pytest.mark.parametrize("shape", [{"prompt": "{}"}, {"prompt": "{}", "model": "large", "temperature": 1, "top": 2}])
def test_instructions_and_examples_in_prompts_are_neither_decisions_nor_facts(text: str, shape: dict[str, Any]) -> None:
    s = Session()
    inner = s.asks("ann", "writer", "write", {"text": "Please write it up."})
    s.calls(
        "writer",
        "model",
        "generate",
        {key: text if each == "{}" else each for key, each in shape.items()},
        {"text": "Fine."},
    )
    s.answers(inner, {"text": "It is written."})
    block = block_of(s.contracts, max_tokens=4000)
    told = [
        claim.text for claim in block.decisions + block.results if "decided" in claim.text or "agreed" in claim.text
    ]
    assert [text for text in told if not text.startswith("generate")] == []


def test_a_decision_of_a_caller_is_listed_as_a_decision() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "We decided to roll back release 2.8.1. Please do it tonight."})
    assert any("decided to roll back" in text for text in texts(block_of(s.contracts), "decisions"))


@pytest.mark.parametrize(
    "sentence",
    [
        "The item no-{} is on the shelf over there.",
        "第{}号餐厅的评分是很高的，价格便宜。",
        "Das Teil {} liegt dort drüben im Regal.",
    ],
)
def test_text_that_was_read_but_is_in_no_claim_is_counted_in_any_language(sentence: str) -> None:
    s = Session()
    said = "".join(
        sentence.format(f"{chr(97 + n // 26)}{chr(97 + n % 26)}") + (" " if " " in sentence else "") for n in range(60)
    )
    s.calls("ann", "bot", "assist", {"text": "Tell me everything about it, please?"}, {"text": said})
    block = block_of(s.contracts, max_tokens=128)
    told = sum(len(claim.quotes) for claim in block.results)
    assert told + block.left_out["results"].count >= 55
    assert block.quality < 0.9
    s.says("ann", "bot", said * 20, f"It is all here. {said * 20}")  # the middle is not read
    left_out = block_of(s.contracts, max_tokens=128).left_out
    assert left_out["preferences"].count > 1000 < left_out["results"].count


def test_a_prompt_shows_the_number_of_newer_contracts(home: Home) -> None:
    contracts = nested().contracts
    take_in(home, contracts[:8])
    assert home.aorch("compress", "a-session").code == 0
    assert "newer" not in home.aorch("memory", "show", "a-session", "--as", "prompt").out
    take_in(home, contracts[8:])
    assert "(2 newer not covered)" in home.aorch("memory", "show", "a-session", "--as", "prompt").out
    assert "(2 newer not covered)" in home.aorch("memory", "export", "--as", "prompt").json["text"]


# verify


def changed(block: MemoryBlock, section: str, claim: Claim) -> MemoryBlock:
    return replace(block, **{section: (claim, *getattr(block, section))})


def lies(s: Session, block: MemoryBlock) -> dict[str, MemoryBlock]:
    """Blocks of that session, each with one mistake."""
    ids = [each["contract_id"] for each in s.contracts]
    inner = next(each for each in s.contracts if each["capability"] == "search_flights")
    answer = next(each for each in s.contracts if each["request_id"] == inner["contract_id"])
    return {
        "contracts": replace(block, covered=replace(block.covered, count=3)),
        "failed": replace(block, summary=block.summary.replace("1 failed", "7 failed")),
        "ends": replace(block, ends={"failed": 2}),
        "agents": replace(block, agents={**block.agents, "ann": 99}),
        "capabilities": replace(block, capabilities={**block.capabilities, "assist": 1}),
        "aim": changed(
            block, "aims", Claim("search_flights (tool) flight HAT001", (inner["contract_id"],), ("HAT001",))
        ),
        "done": changed(
            block,
            "decisions",
            Claim("search_flights (tool) flight HAT001", (answer["contract_id"], inner["contract_id"])),
        ),
        "well later": replace(
            block,
            failures=tuple(
                replace(
                    each,
                    text=f"{each.text}; much the same went well later",
                    contract_ids=(*each.contract_ids, answer["contract_id"]),
                )
                for each in block.failures
            ),
        ),
        "not answered": changed(
            block, "open_points", Claim("ann said «Please book», not answered", (ids[0],), ("Please book",))
        ),
        "order": changed(
            block, "preferences", Claim("ann: «2026-05-01» «Please book»", (ids[0],), ("2026-05-01", "Please book"))
        ),
        "found": changed(
            block, "results", Claim("ann: «Please book the flight»", (ids[0],), ("Please book the flight",))
        ),
        "times": changed(
            block, "results", Claim("search_flights (tool) ×9 HAT001", (inner["contract_id"],), ("HAT001",))
        ),
    }


def test_verify_fails_on_each_wrong_count_and_label(home: Home) -> None:
    s = nested()
    ended(s, "pay_invoice", {"invoice": "i-1"}, "failed", "no money")
    block = block_of(s.contracts)
    assert faults(block, s.contracts) == []
    for name, lie in lies(s, block).items():
        if name != "contracts":  # memory_queries.py checks this one
            assert faults(lie, s.contracts), name
    take_in(home, s.contracts)
    assert home.aorch("compress", "a-session", "--via", "local").code == 0
    assert home.aorch("memory", "verify", "a-session").code == 0
    ((text,),) = home.rows("SELECT block FROM memory_blocks")
    kept = from_dict(jsonio.decode(text))
    change(home.ledger, "UPDATE memory_blocks SET block = ?", jsonio.encode(lies(s, kept)["agents"].as_dict()))
    done = home.aorch("memory", "verify", "--all")
    assert (done.code, "agents: counts 99 of 'ann'" in done.out + done.err) == (13, True)

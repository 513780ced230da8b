"""Statements and decisions of a session: earlier ones do not hide later ones, and omissions are counted."""

import json
from typing import Any

import pytest
from homes import Home
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_homes import blocks, verified
from memory_sessions import Session

from aorch.memory.block import BlockRequest, MemoryBlock
from aorch.memory.local.local_compressor import compress_locally
from aorch.memory.prompt import prompt_text
from aorch.memory.verify import verify_block

SAID = (
    "We decided to use Postgres for storage.",
    "We decided to use MySQL for storage.",
    "We decided to use SQLite for storage.",
    "We decided to drop Redis.",
    "Please never deploy on Friday.",
    "Please never deploy on holidays.",
)


@pytest.fixture
def decided(home: Home) -> Home:
    """A home with a compressed session in which a person changed a decision three times."""
    for text in SAID:
        assert home.aorch("run", "echo", f"text={text}", "-s", "dec").code == 0
    assert home.aorch("compress", "dec").code == 0
    return home


def test_search_finds_every_decision_and_wish_with_its_contract(decided: Home) -> None:
    for word, text in zip(("Postgres", "MySQL", "SQLite", "Redis", "Friday", "holidays"), SAID, strict=True):
        found = decided.aorch("memory", "search", word, "--json").json["found"]
        assert sorted(one["quotes"] for one in found) == [[f"Echo: {text}"], [text]]  # a short session is shown in full
        (identity,) = next(one["contract_ids"] for one in found if one["quotes"] == [text])
        ((payload,),) = decided.rows("SELECT payload FROM contracts WHERE contract_id = ?", identity)
        assert json.loads(payload) == {"text": text}
    verified(decided)


def test_the_latest_decision_comes_first_and_none_is_dropped(decided: Home) -> None:
    (block,) = blocks(decided)
    assert [claim["quotes"] for claim in block["decisions"]] == [[text] for text in reversed(SAID[:4])]
    for said in (block["intent"], block["summary"], *(claim["text"] for claim in block["aims"])):
        assert "Postgres" not in said
    assert (block["quality"], block["left_out"]) == (1, {})


def test_a_small_block_leaves_out_the_oldest_decisions_and_counts_them(decided: Home) -> None:
    for text in ("We decided to cache in Valkey.", "We decided to cache in Memcached."):
        decided.aorch("run", "echo", f"text={text}", "-s", "small")
    answer = decided.aorch("compress", "small", "--max-tokens", "64", "--json").json["memory_block"]
    said = " ".join(claim["text"] for section in ("aims", "decisions") for claim in answer[section])
    assert "Memcached" in said
    assert "Valkey" not in said
    assert answer["left_out"]["decisions"]["count"] >= 1
    assert answer["quality"] < 1
    assert "\nLeft out\n  2 decisions and actions, 1 result\n" in decided.aorch("memory", "show", "small").out


def session_of(*said: str) -> Session:
    session = Session()
    for text in said:
        session.says("ann", "bot", text, "OK.")
    return session


def block_of(session: Session, **options: Any) -> MemoryBlock:
    block = compress_locally(
        iter(session.contracts), BlockRequest(block_id="mem_1", created_at="2026-06-01T00:00:00.000Z", **options)
    )
    assert verify_block(block, {contract["contract_id"]: contract for contract in session.contracts}.get) == []
    assert (block.quality == 1) == (not block.left_out)
    return block


def all_of(block: MemoryBlock) -> str:
    return "\n".join(claim.text for _, claim in block.claims())


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("Keep the backups of the shop for 30 days.", "Keep the backups of the shop for 90 days."),
        ("Show prices in the shop with tax.", "Do not show prices in the shop with tax."),
        ("Use MySQL instead of Postgres for the shop.", "Use Postgres instead of MySQL for the shop."),
        ("Paint the door of the house red.", "Paint the door of the house blue."),
        (
            f"{'Copy all the tables of the shop to the other site ' * 2} at noon.",
            f"{'Copy all the tables of the shop to the other site ' * 2} at dawn.",
        ),
        ("Use tabs.", "Use blanks."),
    ],
)
def test_a_different_number_name_object_order_or_a_not_is_a_different_statement(first: str, then: str) -> None:
    block = block_of(session_of("Help me with the shop and the house, please.", first, then))
    assert first.rstrip(".") in all_of(block)
    assert then.rstrip(".") in all_of(block)


def test_a_wish_that_replaces_the_aim_is_in_the_smallest_block() -> None:
    talk = [f"Tell me in some words what is on shelf {n} of the {n}th hall." for n in range(30)]
    block = block_of(
        session_of("Book a table for two on the terrace.", *talk, "Book a table for six on the terrace."),
        max_tokens=128,
    )
    assert "for two" in all_of(block)
    assert "for six" in all_of(block)


def test_a_return_to_the_first_wish_is_in_the_block() -> None:
    session = session_of(
        "We use Postgres for storage.", "We do not use Postgres for storage.", "We use Postgres for storage."
    )
    newest, before = block_of(session).preferences
    assert (newest.quotes, newest.contract_ids) == (
        ("We use Postgres for storage.",),
        (session.contracts[4]["contract_id"],),
    )
    assert "do not" in before.text


def test_a_repeated_sentence_is_one_claim_that_cites_its_last_occurrence() -> None:
    session = session_of("Help me.", *["We agreed to freeze the schema."] * 3)
    (claim,) = block_of(session).decisions
    assert claim.contract_ids == (session.contracts[6]["contract_id"],)


DECISION = "We decided to freeze the schema."


@pytest.mark.parametrize(
    ("payload", "result", "error"),
    [
        ({"text": f"Good morning. {DECISION} What is next?"}, {"text": "OK."}, None),
        ({"ticket": "T-1", "notes": ["Present: all.", f"Short.\n{DECISION}"]}, {"ok": True}, None),
        ({"ticket": "T-1"}, {"minutes": {"body": f"Short.\n{DECISION}", "pages": [1, 2]}}, None),
        ({"ticket": "T-1"}, None, f"refused: closed. {DECISION}"),
        (
            {
                "text": " ".join(
                    [*(f"Line {n} is here." for n in range(15)), DECISION, *(f"Line {n} is too." for n in range(15))]
                )
            },
            "OK.",
            None,
        ),
    ],
    ids=["words", "arguments", "result", "error", "the middle of many"],
)
def test_a_decision_is_found_anywhere_in_a_contract(payload: Any, result: Any, error: Any) -> None:
    session = Session()
    session.calls("ann", "bot", "look_up", payload, result, error)
    block = block_of(session)
    assert [quote for claim in block.decisions for quote in claim.quotes].count(DECISION) == 1


@pytest.mark.parametrize(
    "said",
    [
        "We have not decided on storage yet.",
        "Have we decided on a storage?",
        "If it is decided to use Oracle, tell me.",
        "The storage is still to be decided by the board.",
    ],
)
def test_a_sentence_without_a_decision_is_not_listed_as_one(said: str) -> None:
    block = block_of(session_of("Help me.", said))
    assert block.decisions == ()
    assert said in all_of(block)


def test_the_end_of_a_long_aim_is_in_the_block_or_counted_as_left_out() -> None:
    parts = (
        "disks",
        "memory",
        "clocks",
        "fans",
        "power",
        "racks",
        "cables",
        "switches",
        "routers",
        "doors",
        "locks",
        "windows",
    )
    aim = " ".join(f"Look at the {part} of the cluster in the cellar." for part in parts)
    assert "windows of the cluster" in all_of(block_of(session_of(aim)))
    small = block_of(session_of(aim), max_tokens=100)
    assert "windows of the cluster" in all_of(small) or small.left_out["preferences"].count


def test_calls_that_are_only_counted_and_unused_names_count_as_left_out() -> None:
    session = Session()
    for n in range(40):
        session.calls("bot", "crm", "update_customer", {"customer": f"C-{n}", "plan": f"plan-{n}x{n}"}, {"ok": True})
    block = block_of(session, max_tokens=256)
    told = sum(f"plan-{n}x{n}" in all_of(block) for n in range(40))
    assert told < 40
    assert block.left_out["decisions"].count >= 40 - told


_words = st.lists(st.from_regex(r"[a-z]{4,9}", fullmatch=True), min_size=1, max_size=30, unique=True)
_orders = st.sampled_from(["We decided to use {} for storage.", "It was agreed to use {}.", "Decision: {} it is."])


@settings(deadline=None)
@given(_words, _orders, st.sampled_from([64, 128, 256, 512, 2048]))
def test_each_decision_is_in_the_block_or_counted_as_left_out_and_the_newest_is_in_it(
    words: list[str], order: str, max_tokens: int
) -> None:
    block = block_of(session_of(*(order.format(word.capitalize()) for word in words)), max_tokens=max_tokens)
    kept = [claim.quotes[0] for claim in block.decisions]
    left = block.left_out["decisions"].count if "decisions" in block.left_out else 0
    assert len(kept) + left == len(words)
    if max_tokens >= 128:
        assert kept[0] == order.format(words[-1].capitalize())
    if max_tokens == 2048:
        assert kept == [order.format(word.capitalize()) for word in reversed(words)]
    shown, _ = prompt_text([block], max_tokens)
    assert all(quote in shown for quote in kept)

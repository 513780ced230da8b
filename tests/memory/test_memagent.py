"""MemAgent: a block becomes notes, the answer is stored with the block, and MemAgent's quirks are handled."""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from doubles import running
from hypothesis import given
from hypothesis import strategies as st
from memagent_double import SAMPLE, MemAgentDouble
from memory_sessions import Session, operations, review
from waiting import WAIT_S

from aorch.errors import ServiceFailed, ServiceUnreachable
from aorch.memory.block import BlockRequest, Claim, MemoryBlock
from aorch.memory.local.local_compressor import compress_locally
from aorch.memory.memagent.memagent_client import MemAgentClient, memagent_id
from aorch.memory.memagent.memagent_compressor import Companion, answer_of, note_hash, notes, send_to_memagent


def block_of(session: Session | None = None, **options: Any) -> MemoryBlock:
    return compress_locally(
        session.contracts if session else OPERATIONS, BlockRequest(block_id="mem_1", created_at="t", **options)
    )


OPERATIONS = operations()
BLOCK = block_of()


def asked(url: str, ask: Callable[[MemAgentClient], Awaitable[Any]], timeout_s: float = 10) -> Any:
    async def run() -> Any:
        async with MemAgentClient(url, timeout_s) as memagent:
            return await ask(memagent)

    return asyncio.run(run())


def hand(url: str, block: MemoryBlock = BLOCK, sent: tuple[str, ...] = ()) -> Companion:
    companion: Companion = asked(url, lambda memagent: send_to_memagent(block, memagent, sent))
    return companion


# the mapping of ids


@pytest.mark.parametrize(
    "plain", ["session_001", "session_a-b_c", "session_01KFV70H4T8M2N6P9QRSTVWXYZ", "session_" + "a" * 64]
)
def test_a_safe_session_id_is_used_unchanged(plain: str) -> None:
    assert memagent_id(plain) == plain


HARMFUL = [
    "", "session_", "s", "..", "session_..", "session_../../etc/passwd", "session_a/b", "session_a\\b", "session_a b",
    "session_a\n", "session_A", "session_01kfv70h4t8m2n6p9qrstvwxyz", "session_é", "数据", "\ud800",
    "session_" + "a" * 65, "session_%2e%2e", "session_a?b#c",
]  # fmt: skip


@pytest.mark.parametrize("harmful", HARMFUL)
def test_any_other_session_id_becomes_a_safe_one(harmful: str) -> None:
    assert re.fullmatch(r"session_x[a-z2-7]{52}", memagent_id(harmful))
    assert memagent_id(harmful) == memagent_id(harmful)


@given(st.lists(st.one_of(st.sampled_from(HARMFUL), st.text(), st.from_regex(r"session_[\w./-]*")), unique=True))
def test_different_sessions_have_different_ids_even_without_case(sessions: list[str]) -> None:
    mapped = {memagent_id(session).lower() for session in sessions}
    assert len(mapped) == len(sessions)


def test_a_session_id_that_looks_like_a_derived_one_is_derived_too() -> None:
    mapped = memagent_id("a/b")
    assert memagent_id(mapped) != mapped


def test_no_session_id_leads_out_of_its_directory() -> None:
    s = Session("../../../tmp/owned")
    s.calls("ann", "shell", "run", {"command": "ls"}, {"stdout": "a"})
    with running(MemAgentDouble()) as double:
        companion = hand(double.url, block_of(s))
    assert companion.error == ""
    assert double.outside == []
    assert companion.memagent_session_id == memagent_id("../../../tmp/owned")
    assert all(".." not in path for _, path, _ in double.asked)


# handing over


def test_a_block_is_sent_as_notes_and_the_answer_is_returned() -> None:
    with running(MemAgentDouble()) as double:
        companion = hand(double.url)
    assert [path.rsplit("/", 1)[1] for _, path, _ in double.asked] == [
        "init", "memory-block", *["note"] * companion.sent, "compress"
    ]  # fmt: skip
    init = double.asked[0][2]
    assert init["session_id"].startswith("session_")
    assert init["intent"]
    assert init["created_by"] == "aorch"
    assert double.notes_posted == notes(BLOCK)
    assert companion.notes == tuple(map(note_hash, notes(BLOCK)))
    assert (companion.error, companion.refused, companion.memory_block_id) == ("", 0, "mem_0")
    assert companion.answer is not None
    assert companion.answer.summary == SAMPLE["summary"]
    assert companion.answer.events_processed == 11, "of events that are not ours, which shows"
    assert companion.answer.key_decisions == ("Chose a teal palette", "Set the headline in Futura")


def test_notes_are_short_and_contain_every_claim_with_its_citations() -> None:
    listed = notes(block_of(max_tokens=2048))
    assert max(map(len, listed)) <= 500
    whole = "\n".join(listed)
    for _, claim in BLOCK.claims():
        assert claim.text in whole
        assert claim.contract_ids[0] in whole
    assert "\x1b" not in whole


def test_a_long_claim_is_cut_to_fit_in_a_note_and_keeps_its_citation() -> None:
    from msgspec.structs import replace

    long = Claim("word " * 200, ("01KFV70H4T8M2N6P9QRSTVWXYZ",), importance=1.0)
    literal = Claim("x" * 900, ("01KFV70H4T8M2N6P9QRSTVWXYZ",), ("x" * 900,))
    listed = notes(replace(BLOCK, decisions=(long,), literals=(literal,) * 3))
    assert max(map(len, listed)) <= 500
    (cut,) = [note for note in listed if note.startswith("Done: word")]
    assert cut.endswith("word… [01KFV70H4T8M2N6P9QRSTVWXYZ]")


def test_each_note_is_sent_once() -> None:
    with running(MemAgentDouble()) as double:
        first = hand(double.url)
        again = hand(double.url, sent=first.notes)
        forgotten = hand(double.url)
    assert double.notes_posted == notes(BLOCK)
    assert (again.sent, forgotten.sent) == (0, 0)
    assert again.notes == forgotten.notes == first.notes
    assert again.error == ""
    assert again.answer is not None


def test_a_session_that_memagent_has_lost_gets_its_notes_again() -> None:
    with running(MemAgentDouble()) as double:
        first = hand(double.url)
        double.sessions.clear()
        again = hand(double.url, sent=first.notes)
    assert again.sent == len(first.notes)


def test_notes_that_were_sent_before_a_failure_are_remembered() -> None:
    with running(MemAgentDouble()) as double:
        double.refuse_notes_after = 3
        broken = hand(double.url)
        double.refuse_notes_after = None
        whole = hand(double.url, sent=broken.notes)
    assert len(broken.notes) == 3
    assert "answered note with HTTP 500" in broken.error
    assert broken.answer is None
    assert whole.error == ""
    twice = {note for note in double.notes_posted if double.notes_posted.count(note) > 1}
    assert len(twice) == 1, "the one that was refused"


def test_an_empty_intent_is_never_sent() -> None:
    empty = compress_locally([], BlockRequest(block_id="mem_1", created_at="t", session_id="session_empty"))
    with running(MemAgentDouble("no_events")) as double:
        companion = hand(double.url, empty)
    assert double.asked[0][2]["intent"] == "session_empty"
    assert companion.answer is not None
    assert (companion.answer.message, companion.answer.events_processed) == ("No events to compress", 0)
    assert companion.answer.summary == ""


def test_a_summary_in_prose_is_stored_as_safe_text() -> None:
    with running(MemAgentDouble("prose")) as double:
        companion = hand(double.url)
    assert companion.answer is not None
    assert companion.answer.summary.startswith("Here is the summary you asked for: **Summary**")
    assert "\x1b" not in companion.answer.summary
    assert "\n" not in companion.answer.summary


def test_if_the_model_of_memagent_fails_the_notes_stay_and_the_error_says_why() -> None:
    with running(MemAgentDouble("llm_down")) as double:
        companion = hand(double.url)
    assert companion.answer is None
    assert companion.notes == tuple(map(note_hash, notes(BLOCK)))
    assert companion.error.endswith("HTTP 500: Compression failed: Error code: 529 - overloaded [31m")


def test_memagent_never_changes_the_block() -> None:
    before = BLOCK.as_dict()
    with running(MemAgentDouble()) as double:
        hand(double.url)
    assert BLOCK.as_dict() == before


def test_an_unreachable_memagent_is_an_error_in_the_result_not_an_exception() -> None:
    with running(MemAgentDouble()) as double:
        url = double.url
    companion = hand(url)
    assert "cannot be reached" in companion.error
    assert (companion.notes, companion.answer) == ((), None)


def test_a_timeout_of_the_compression_is_an_error_in_the_result() -> None:
    with running(MemAgentDouble("held")) as double:
        companion = asked(double.url, lambda memagent: send_to_memagent(BLOCK, memagent), timeout_s=0.5)
        double.release.set()
    assert "gave no answer in time" in companion.error
    assert len(companion.notes) == len(notes(BLOCK))


# single calls


def test_a_rejected_request_raises_with_the_reason() -> None:
    with running(MemAgentDouble()) as double:
        with pytest.raises(ServiceFailed, match="HTTP 404: SESSION_NOT_FOUND"):
            asked(double.url, lambda memagent: memagent.compress("session_unknown"))
        with pytest.raises(ServiceFailed, match="answered init with HTTP 422"):
            asked(double.url, lambda memagent: memagent.init("unprefixed", "x"))
        asked(double.url, lambda memagent: memagent.init("session_a", "x"))
        assert asked(double.url, lambda memagent: memagent.init("session_a", "x")) == ""
        assert asked(double.url, lambda memagent: memagent.note("session_a", "x" * 501)) is False


@pytest.mark.parametrize("body", [{}, {"compression": None}, {"compression": []}, {"status": "ok"}])
def test_an_empty_answer_is_rejected(body: dict[str, Any]) -> None:
    with pytest.raises(ServiceFailed, match="neither a summary nor a reason"):
        answer_of(body)


def test_the_valid_parts_of_a_malformed_answer_are_used() -> None:
    answer = answer_of(
        {
            "compression": {
                "summary": ["a", "b"],
                "key_decisions": "one",
                "active_modifiers": [{"k": 1}, None, 5],
                "user_preferences": 7,
                "events_processed": "many",
                "tokens_in": True,
            },
            "memory_block_id": 5,
        }
    )
    assert answer.summary == '["a", "b"]'
    assert answer.key_decisions == ("one",)
    assert answer.active_modifiers == ('{"k": 1}', "5")
    assert (answer.events_processed, answer.tokens_in) == (0, 0)


# health


def test_health_is_requested_at_its_real_path() -> None:
    with running(MemAgentDouble()) as double:
        assert asked(double.url, lambda memagent: memagent.health()) == "healthy"
    assert [path for _, path, _ in double.asked] == ["/v1/health"]


class OlderMemAgent(MemAgentDouble):
    """A MemAgent with its health check at the older path."""

    def _do(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        return (200, {"status": "ok"}) if path == "/health" else (404, {"detail": "Not Found"})


def test_health_falls_back_to_the_older_path() -> None:
    with running(OlderMemAgent()) as double:
        assert asked(double.url, lambda memagent: memagent.health()) == "healthy"
    assert [path for _, path, _ in double.asked] == ["/v1/health", "/health"]


def test_a_memagent_that_is_compressing_is_busy_not_absent() -> None:
    with running(MemAgentDouble("held")) as double:
        compressing = threading.Thread(target=hand, args=(double.url,))
        compressing.start()
        assert double.compressing.wait(WAIT_S)
        assert asked(double.url, lambda memagent: memagent.health(0.3)) == "busy"
        double.release.set()
        compressing.join(WAIT_S)
        assert asked(double.url, lambda memagent: memagent.health()) == "healthy"


def test_an_unreachable_memagent_is_absent() -> None:
    with running(MemAgentDouble()) as double:
        url = double.url
    assert asked(url, lambda memagent: memagent.health()) == "absent"


def test_the_error_of_an_unreachable_memagent_names_its_url() -> None:
    with running(MemAgentDouble()) as double:
        url = double.url
    with pytest.raises(ServiceUnreachable, match=url):
        asked(url, lambda memagent: memagent.compress("session_a"))


def test_blocks_of_a_growing_session_share_their_notes() -> None:
    """The notes of a later block are added to the same session of MemAgent."""
    contracts = review()
    first, second = (
        compress_locally(part, BlockRequest(block_id="m", created_at="t", session_id="review-88"))
        for part in (contracts[:8], contracts[8:])
    )
    with running(MemAgentDouble()) as double:
        one = hand(double.url, first)
        two = hand(double.url, second, sent=one.notes)
    assert one.memagent_session_id == two.memagent_session_id
    assert len(double.sessions) == 1
    assert len(set(double.notes_posted)) == len(double.notes_posted)

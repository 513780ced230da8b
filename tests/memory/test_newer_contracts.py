"""What a prompt shows of the contracts that no block covers yet."""

from homes import Home
from local_blocks import many_steps
from memory_homes import compressed, take_in, verified
from memory_sessions import Session


def long_session() -> Session:
    s = Session()
    s.says("ann", "bot", "Please check every node of the two clusters.", "I will check them now.")
    many_steps(s)
    return s


def prompt(home: Home, reference: str, max_tokens: int = 512) -> str:
    shown: str = home.aorch("memory", "show", reference, "--as", "prompt", "--max-tokens", f"{max_tokens}").out
    assert len(shown) <= 4 * max_tokens + 1
    return shown


def test_a_prompt_shows_the_words_of_a_person_that_no_block_covers_yet(home: Home) -> None:
    s = long_session()
    wish = s.asks("ann", "bot", "assist", {"text": "Thanks! Now restart node N-7, but only after 22:00 UTC."})
    take_in(home, s.contracts)
    compressed(home, s.session_id)
    words = "«Thanks! Now restart node N-7, but only after 22:00 UTC.»"
    line = f"Not in a block yet:\n- ann said {words}, not answered [{wish[-4:]}]\n"
    assert line in prompt(home, s.session_id)
    assert "ann said «Thanks!" in prompt(home, s.session_id, 256)
    assert prompt(home, s.session_id, 64).startswith("<memory>\nSession a-session")
    assert wish in home.aorch("memory", "export", "--as", "prompt").json["cites"]
    verified(home)
    compressed(home, s.session_id)
    s.answers(wish, {"text": "I will restart it at 22:05 UTC."})
    take_in(home, s.contracts[-1:])
    compressed(home, s.session_id)
    assert "Not in a block yet:" not in prompt(home, s.session_id)


def test_a_prompt_shows_the_newest_calls_and_answers_that_no_block_covers_yet(home: Home) -> None:
    s = long_session()
    wish = s.asks("ann", "bot", "assist", {"text": "Please restart node N-7 and tell me when it is up."})
    s.calls("bot", "store", "read_node", {"node": "N-7"}, {"state": "down"})
    take_in(home, s.contracts)
    first = compressed(home, s.session_id)["memory_block"]["block_id"]
    s.calls("bot", "store", "restart_node", {"node": "N-7"}, {"state": "up again"})
    s.answers(wish, {"text": "Node N-7 is up since 22:05 UTC."})
    take_in(home, s.contracts[-3:])
    lines = prompt(home, s.session_id).partition("Not in a block yet:\n")[2].splitlines()
    assert [line.partition(" [")[0] for line in lines] == [
        "- restart_node (store) node N-7 → «up again»",
        "- bot: «Node N-7 is up since 22:05 UTC.»",
        "</memory>",
    ]
    compressed(home, s.session_id)
    assert "Not in a block yet:" not in prompt(home, first)  # the second block covers them
    verified(home)


def test_an_open_point_is_closed_by_an_answer_that_no_block_covers_yet(home: Home) -> None:
    s = long_session()
    asked = s.asks("bot", "cy", "review", {"text": "Please tell me whether node N-9 may be switched off tonight."})
    s.says("ann", "bot", "Are they all well?", "All thirty nodes work, and node N-7 was restarted.")
    take_in(home, s.contracts)
    compressed(home, s.session_id)
    assert "Open: bot said «Please tell me whether node N-9" in prompt(home, s.session_id)
    s.answers(asked, {"text": "No: node N-9 has the only copy of the index."})
    take_in(home, s.contracts[-1:])
    assert "Open:" not in prompt(home, s.session_id)
    assert "- cy: «No: node N-9 has the only copy of the index.»" in prompt(home, s.session_id)


def test_many_contracts_that_no_block_covers_leave_most_of_a_prompt_to_the_blocks(home: Home) -> None:
    s = long_session()
    for n in range(30):
        s.says(
            "ann", "bot", f"Check rack R-{n}.", f"Rack R-{n} failed because the fan F-{n} stopped at {n + 60} degrees."
        )
    take_in(home, s.contracts)
    compressed(home, s.session_id)
    covered = len(s.contracts)
    for n in range(40):
        s.says("ann", "bot", f"What about disk D-{n}, please?", f"Disk D-{n} has {n} GB left. " * 9)
    take_in(home, s.contracts[covered:])
    old, title, new = prompt(home, s.session_id, 512).partition("Not in a block yet:\n")
    assert "(80 newer not covered)" in old
    assert "Rack R-29 failed because the fan F-29 stopped" in old
    assert "Disk D-39 has 39 GB left." in new
    assert len(title + new) < len(old) / 4


def test_contracts_that_were_erased_before_a_block_covers_them_are_not_shown(home: Home) -> None:
    s = long_session()
    take_in(home, s.contracts)
    compressed(home, s.session_id)
    s.says("ann", "bot", "My door code is 4711-XYZ, please check the lock.", "The lock works with 4711-XYZ.")
    take_in(home, s.contracts[-2:])
    assert "4711-XYZ" in prompt(home, s.session_id)
    assert home.aorch("contracts", "erase", "--text-match", "4711-XYZ", "--yes").code == 0
    assert "4711-XYZ" not in prompt(home, s.session_id)
    verified(home)


def test_what_a_person_asked_last_comes_before_a_failure_after_it(home: Home) -> None:
    s = long_session()
    take_in(home, s.contracts)
    compressed(home, s.session_id)
    start = len(s.contracts)
    wish = "Please also set the phone number of the owner of node N-7 to +46 31 555 01 02."
    ask = s.asks("ann", "bot", "assist", {"text": wish})
    error = (
        "LookupError: the order of node N-7 is not in the store, which holds the orders of the last thirty days only"
    )
    s.calls("bot", "store", "get_order", {"order": "A-1001", "node": "N-7"}, error=error)
    s.answers(ask, {"text": "I will check order A-1001 of node N-7 now, and tell you what its state in the store is."})
    take_in(home, s.contracts[start:])
    for limit in (192, 352):
        newer = prompt(home, s.session_id, limit).partition("Not in a block yet:\n")[2]
        assert f"ann: «{wish}»" in newer

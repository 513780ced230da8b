"""What a block says about the end of a session, and what it keeps of long commands, equal calls and empty results."""

import pytest
from homes import Home
from local_blocks import block_of, faults, many_steps, shown
from memory_homes import blocks, compressed, take_in
from memory_sessions import Session
from msgspec.structs import replace

CONCLUSION = "The log shows 60 failures. Therefore the final answer is 60, because each retry was counted once."


def long_session() -> Session:
    s = Session()
    s.says("ann", "bot", "Please check every node of the two clusters.", "I will check them now.")
    for n in range(30):
        s.calls(
            "bot", "store", "read_node", {"node": f"N-{n}"}, {"state": f"works as before, load {n} of 100", "at": n}
        )
    return s


def test_the_last_answer_is_marked_as_the_end_even_if_it_is_short() -> None:
    s = long_session()
    s.says("ann", "bot", "How many of them have failed so far?", "0\n0\n")
    for max_tokens in (128, 256, 512, 4000):
        assert "\nEnd: bot: «0 0»" in shown(s, max_tokens)


@pytest.mark.parametrize(
    ("last", "shown_end", "newer"),
    [
        ("Thanks for your help! That's all I needed.", "End: ann: «Thanks for your help! That's all I needed.»", 0),
        (
            "Thanks! Now I want you to restart node N-7.",
            "Last: bot: «All thirty nodes work, and node N-7 was restarted.»",
            1,
        ),
    ],
)
def test_closing_words_are_covered_and_a_wish_at_the_end_waits(
    home: Home, last: str, shown_end: str, newer: int
) -> None:
    s = long_session()
    s.says("ann", "bot", "Are they all well?", "All thirty nodes work, and node N-7 was restarted.")
    s.asks("ann", "bot", "assist", {"text": last})
    take_in(home, s.contracts)
    compressed(home, s.session_id)
    text = home.aorch("memory", "show", s.session_id, "--as", "prompt").out
    assert shown_end in text
    assert "node N-7 was restarted" in text
    assert ("(1 newer not covered)" in text) == bool(newer)
    assert blocks(home)[0]["open_points"] == []
    home.aorch("memory", "verify", "--all")


def test_a_request_on_which_an_agent_acted_is_not_open_but_is_shown() -> None:
    s = long_session()
    asked = s.asks("ann", "bot", "assist", {"text": "Please bring me to somebody who can restart the node."})
    s.calls("bot", "desk", "transfer_to_person", {"summary": "Ann wants node N-7 restarted."}, {"text": "done"})
    assert "Open:" not in shown(s)
    assert f"ann: «Please bring me to somebody who can restart the node.» [{asked[-4:]}]" in shown(s)


def test_words_that_are_only_passed_on_are_their_authors() -> None:
    for steps in (1, 30):  # the whole record, and a part of it
        s = Session()
        aim = s.asks("ann", "lead", "solve", {"text": "How many runs of the nightly job have failed this year?"})
        for n in range(steps):
            s.calls(
                "lead", "reader", "read_log", {"log": f"L-{n}"}, {"text": f"run {n} of the job ended with code {n}"}
            )
        s.calls("lead", "counter", "speak", {}, {"text": CONCLUSION})
        s.calls("lead", "counter", "speak", {}, {"text": "TERMINATE"})
        s.answers(aim, {"text": CONCLUSION})
        text = shown(s)
        assert "End: lead answered ann with the words of counter" in text
        assert "lead: «" not in text
        assert "the final answer is 60" in text


def test_a_long_command_keeps_its_end_and_shows_what_an_attempt_changed() -> None:
    s = long_session()
    columns = ", ".join(f"t.some_long_column_name_{n}" for n in range(12))
    for value, result in (("Bachelors", []), ("Bachelor", ["Ann Lee"])):
        query = f"SELECT {columns} FROM transcripts t WHERE t.degree LIKE '%{value}%'"
        s.calls("bot", "store", "execute_sql", {"query": query}, {"rows": result})
    text = shown(s)
    assert "SELECT t.some_long_column_name_0" in text
    assert "LIKE '%Bachelors%'» → empty" in text
    assert "LIKE '%Bachelor%'» → «Ann Lee»" in text


def test_equal_changes_with_different_results_are_not_merged() -> None:
    s = long_session()
    for booking in ("B-71", "B-72"):
        s.calls("bot", "desk", "book_room", {"room": "R-5", "night": "2026-06-01"}, {"booking": booking})
    for _ in range(2):
        s.calls("bot", "desk", "cancel_room", {"booking": "B-71"}, {"cancelled": True})
    text = shown(s)
    assert text.index("B-71") < text.index("B-72") < text.index("cancel_room (desk) ×2")
    assert "book_room (desk) ×2" not in text


def test_calls_that_share_a_line_are_in_their_order() -> None:
    s = long_session()
    places = [shown(s).find(f"N-{n}") for n in (27, 28, 29)]
    assert places == sorted(places)
    assert min(places) > 0


def test_what_was_not_found_is_not_listed_as_completed() -> None:
    s = Session()
    s.says("ann", "bot", "Is there a room for the whole of next week?", "I will look for one.")
    s.calls("bot", "desk", "search_room", {"night": "2026-06-01"}, {"rooms": []})
    s.calls("bot", "desk", "close_search", {"night": "2026-06-01"}, {})
    text = shown(s)
    assert "search_room (desk) night 2026-06-01 → empty" in text
    assert "close_search (desk) night 2026-06-01 → completed" in text


def test_a_request_that_was_repeated_in_similar_words_is_open_once() -> None:
    s = long_session()
    for more in ("", " by searching online", " by searching in reliable sources online"):
        s.asks(
            "lead", "worker", "speak", {"text": f"Please verify whether the crabs of the slides are crustaceans{more}."}
        )
    s.asks("lead", "worker", "speak", {"text": "Count the slides."})
    opened = shown(s, 512).partition("Open:")[2]
    assert opened.count("verify whether the crabs") == 1
    assert "in reliable sources online" in opened
    assert "Count the slides." in opened


def test_a_call_with_the_same_result_as_an_earlier_one_is_shown_with_its_result() -> None:
    s = long_session()
    for answer in ("flag{c1cc03b9}", "flag{0055aabb}"):
        s.calls("bot", "judge", "submit", {"answer": answer}, {"accepted": False})
    for max_tokens in (256, 512):
        assert "answer flag{c1cc03b9} → accepted false" in shown(s, max_tokens)
        assert "answer flag{0055aabb} → accepted false" in shown(s, max_tokens)


def test_a_failed_query_is_shown_whole_or_with_a_mark_where_it_is_cut() -> None:
    s = long_session()
    query = (
        "execute[SELECT founded FROM orchestra o JOIN performance p ON o.orchestra_id = p.orchestra_id\n"
        "GROUP BY o.orchestra_id HAVING COUNT("
    )
    s.calls("bot", "base", "execute_sql", {"query": query}, error="Error: your last action did not contain sql code")
    whole = "ON o.orchestra_id = p.orchestra_id GROUP BY o.orchestra_id HAVING COUNT("
    assert f"{whole}» failed" in shown(s)
    small = next(line for line in shown(s, 160).splitlines() if "execute_sql" in line)
    assert whole in small or "…" in small or "execute[" not in small


def test_a_query_that_is_cut_keeps_the_end_of_its_last_line() -> None:
    s = long_session()
    first, last = (", ".join(f"{letter}{n}.name_of_guest" for n in range(12)) for letter in "ab")
    query = f"SELECT {first}\nFROM a JOIN b ON {last} = 3\nWHERE b.paid = 'no' AND {last} AND b.kind = 'dog'"
    s.calls("bot", "base", "execute_sql", {"query": query}, {"output": "[(1782,)]"})
    for max_tokens in (256, 512):
        assert "b.kind = 'dog'» → [(1782,)]" in shown(s, max_tokens)


def test_a_sentence_with_an_abbreviation_is_quoted_whole() -> None:
    s = long_session()
    s.says(
        "ann", "bot", "Which picture is it?", "The answer is the picture of St. Jerome by Dr. Li, added on 2024-12-10."
    )
    assert "«The answer is the picture of St. Jerome by Dr. Li, added on 2024-12-10.»" in shown(s, 256)


def team(last: str) -> Session:
    """A team whose terminal has the last word, which the orchestrator passes on."""
    s = Session()
    task = s.asks("ann", "lead", "solve", {"text": "How many thousand more women than men have a degree?"})
    s.calls(
        "lead",
        "expert",
        "speak",
        {},
        {"text": "There are 755,000 women and 685,000 men. Therefore, the result is 70.0."},
    )
    for n in range(20):
        s.calls(
            "lead",
            f"member{n % 3}",
            "speak",
            {},
            {"text": f"I have looked at table {n} of the census, which has rows."},
        )
    s.calls("lead", "terminal", "speak", {}, {"text": last})
    s.answers(task, {"text": last})
    return s


@pytest.mark.parametrize("max_tokens", [200, 256, 512])
def test_the_last_conclusion_is_kept_in_its_place_if_the_answer_has_none(max_tokens: int) -> None:
    protocol = (
        "There is no code from the last message for me to execute. The group chat manager can end the conversation."
    )
    text = shown(team(protocol), max_tokens)
    work, end = text.split("\nEnd: ")
    assert "- expert concluded: «Therefore, the result is 70.0.»" in work
    assert "table 19" not in work.partition("expert concluded")[0]
    assert end.startswith("lead answered ann with the words of terminal: «There is no code")
    assert "chat manager" not in end


def test_the_end_has_the_words_of_an_answer_that_is_only_output() -> None:
    end = "with the words of terminal: «exitcode: 0 (execution succeeded) Code output: []»"
    assert end in shown(team("exitcode: 0 (execution succeeded)\nCode output: []\n"), 256)


def test_an_answer_that_is_only_the_output_of_a_call_names_the_call() -> None:
    s = Session()
    task = s.asks("ann", "bot", "solve", {"text": "Which guests of the hotel have a dog but no cat?"})
    for n in range(30):
        table = f"[('GuestID', 'int', 'NO', 'PRI'), ('table{n}', 'varchar(20)', 'YES', '')]"
        s.calls("bot", "base", "execute_sql", {"query": f"DESC table{n}"}, {"output": f"{table}\n"})
    s.answers(task, {"text": table})
    for max_tokens in (256, 512):
        end = shown(s, max_tokens).partition("\nEnd: ")[2]
        assert end.startswith("bot answered ann: «[('GuestID', 'int'")
        assert "(only the result of execute_sql (base) «DESC table29»)" in end.splitlines()[0]
    block = block_of(s.contracts)
    assert not list(faults(block, s.contracts))
    (claim,) = (claim for claim in block.results if "bot answered ann" in claim.text)
    wrong = replace(claim, text=claim.text.replace("answered ann", "answered eve"))
    results = tuple(wrong if one is claim else one for one in block.results)
    assert any(
        "names eve; the answer went to ann" in fault for fault in faults(replace(block, results=results), s.contracts)
    )


def test_an_answer_that_concludes_is_the_whole_end() -> None:
    assert "concluded" not in shown(team("The final answer is 70.0, as computed."), 256)


def test_of_a_status_that_an_agent_reports_again_and_again_the_newest_one_is_shown() -> None:
    s = long_session()
    for place in ("north of the river", "east of the lake", "west of the hills", "south of the town"):
        status = f"The request is not yet fully satisfied because we have not found the node that lies {place}."
        s.calls("lead", "judge", "speak", {}, {"text": status})
    s.says("ann", "bot", "What did you find?", "The final answer is that node N-3 has failed.")
    for max_tokens in (200, 256, 512):
        told = [line for line in shown(s, max_tokens).splitlines() if "not yet fully satisfied" in line]
        assert len(told) == 1
        assert "south of the town" in told[0]


def test_of_many_sentences_about_what_is_still_to_be_done_the_newest_are_shown() -> None:
    s = long_session()
    for step in ("The map has to be drawn", "Seven roads are to be measured", "The river bank must be seen"):
        s.calls("lead", "judge", "speak", {}, {"text": f"{step}, which is pending and was not yet begun by anybody."})
    s.calls("lead", "judge", "speak", {}, {"text": "The bridge of stone still needs to be verified by the engineers."})
    s.calls("lead", "judge", "speak", {}, {"text": "We have not yet seen the answer of the engineers to that letter."})
    s.says("ann", "bot", "What did you find?", "The final answer is that node N-3 has failed.")
    told = shown(s, 400)
    assert "The bridge of stone still needs" in told
    assert "The map has to be drawn" not in told


def test_what_one_agent_tells_another_to_do_is_shown_as_the_thread_of_the_work() -> None:
    s = long_session()
    for town in ("Ulm", "Bonn"):
        step = f"Please look for gyms in the city of {town} on the map of the county."
        s.calls("lead", "planner", "speak", {}, {"text": f"The next speaker is the surfer. {step}"})
        s.calls("lead", "surfer", "step", {"text": step}, {"text": f"I clicked 'Maps of {town}'."})
    s.says("ann", "bot", "What did you find?", "The final answer is that node N-3 has failed.")
    told = shown(s)
    assert "lead: «Please look for gyms in the city of Ulm on the map of the county.»" in told
    assert "I clicked" not in told
    assert "next speaker" not in told


def test_menus_of_pages_metadata_and_headings_of_columns_are_no_findings() -> None:
    s = long_session()
    noise = [
        'Please help [improve this article](/wiki/Special:Edit "Edit") by [adding citations](/wiki/Help:Referencing "Help").',
        '"@context": "http://schema.org/",',
        "Output:   % Total    % Received % Xferd  Average Speed   Time    Time",
        'If the group chat manager wants to end the conversation, reply with "STOP-7" only, as agreed on 2025-03-04.',
        "\n".join(f"2555{n} WVPoint Pleasant40{n} Main St" for n in range(24)),
    ]
    for n, line in enumerate(noise):
        s.calls(
            "bot",
            f"reader{n}",
            "speak",
            {},
            {"text": f"The page of node N-{n} has this text for us to read.\n\n{line}\n"},
        )
    s.calls(
        "bot",
        "reader",
        "speak",
        {},
        {"text": "It is on www.store.org/articles/a... and in the 52-week range of mid-2000s."},
    )
    s.says("ann", "bot", "What did you find?", "The final answer is that node N-3 has failed. ###STOP###")
    for max_tokens in (256, 512):
        for line in (*noise, "###", "Also named: 52", "www.store.org/articles/a,", "store.org/articles/a\n"):
            assert line[:20] not in shown(s, max_tokens)


def test_the_reason_of_an_agent_for_a_refusal_is_shown() -> None:
    s = long_session()
    s.says(
        "ann",
        "bot",
        "Then add the insurance to my booking, please.",
        "I see that this matters to you. I cannot add an insurance to a booking after it was paid. Is there anything else?",
    )
    s.says("ann", "bot", "Füge wenigstens eine Notiz hinzu.", "Das kann ich nicht. Leider ist das hier nicht möglich.")
    for n in range(6):
        s.says("ann", "bot", f"And how is node N-{n} today?", f"Node N-{n} works as before, with load {n} of 100.")
    text = shown(s)
    assert "I cannot add an insurance to a booking after it was paid." in text
    assert "nicht möglich" in text


def test_the_conclusion_of_a_long_answer_is_shown_before_its_beginning() -> None:
    s = long_session()
    s.says(
        "ann",
        "bot",
        "Which two colors does the removed cube have?",
        "It seems there was an error in the communication with the terminal, because of its format.\n"
        "Let's write the answer again in the form that was asked for:\nThe removed cube is:\n```Red, White```\n\n"
        'Thus, the answer to the question is "Red, White".\n\nReady to end this session.',
    )
    for max_tokens in (160, 256, 512):
        assert 'Thus, the answer to the question is "Red, White".' in shown(s, max_tokens)


def test_a_result_that_a_line_announces_is_quoted_with_it() -> None:
    s = long_session()
    answer = "I compared all the tables of the season.\nTherefore the player with the most walks is:\nReggie Jackson"
    s.says("ann", "bot", "Who had the most walks?", answer)
    assert "Therefore the player with the most walks is: Reggie Jackson»" in shown(s, 256)


def test_a_step_that_the_last_answer_announces_is_shown_as_its_last_sentence() -> None:
    s = Session()
    asked = s.asks("ann", "lead", "solve", {"text": "Who nominated the article about the dinosaur in November 2016?"})
    many_steps(s, 40)
    answer = (
        "Upon reviewing the page of the nomination, it appears that the nominator was Cas Liber. The article was promoted after "
        "long discussions of many editors. It met all criteria of the project for articles of this kind at that time. To ensure "
        "accuracy, let me verify the nominator by comparing the history of the article with the page of the nomination."
    )
    s.calls("lead", "historian", "speak", {}, {"text": answer})
    s.answers(asked, {"text": answer})
    end = next(line for line in shown(s, 400).splitlines() if line.startswith("End:"))
    assert "the nominator was Cas Liber." in end
    assert "let me verify the nominator" in end
    assert not list(faults(block_of(s.contracts), s.contracts))

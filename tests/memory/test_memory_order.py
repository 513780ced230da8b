"""A block tells the work in its order: causes before effects, and the sentences of a message as they were said."""

from itertools import pairwise

import pytest
from local_blocks import block_of, faults, many_steps, shown
from memory_sessions import Session
from msgspec.structs import replace

from aorch.memory.prompt import prompt_text


def fields() -> Session:
    s = Session()
    s.says("ann", "bot", "Please check the area of every field on the map.", "I will measure them now.")
    many_steps(s)
    return s


def in_order(text: str, *parts: str) -> bool:
    """Whether the parts occur in `text` one after the other."""
    places = [text.find(part) for part in parts]
    return min(places) >= 0 and all(one < other for one, other in pairwise(places))


@pytest.mark.parametrize("steps", [0, 30])
def test_equal_failures_stand_where_the_first_of_them_led_to_the_next_step(steps: int) -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please restore the table of orders from the dump."})
    many_steps(s, steps)
    failed = {"command": "restore orders.dump"}
    first = s.calls("bot", "shell", "bash", failed, error="restore: orders.dump: Permission denied")
    s.calls("bot", "shell", "bash", {"command": "chmod u+r orders.dump"}, {"output": "mode of orders.dump changed"})
    last = s.calls("bot", "shell", "bash", failed, error="restore: orders.dump: Permission denied")
    s.calls("bot", "shell", "bash", {"command": "sudo restore orders.dump"}, {"output": "4 tables restored"})
    text = shown(s)
    assert in_order(text, "restore orders.dump» failed ×2", "chmod u+r orders.dump", "4 tables restored")
    line = next(line for line in text.splitlines() if "failed ×2" in line)
    assert line.endswith(f"[{first[-4:]} {last[-4:]}]")


def test_failures_for_one_reason_with_different_commands_are_not_called_equal() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please decode the secret in crackme.py."})
    many_steps(s)
    for command in ("python3 crackme.py", "python3 -c 'import crackme'"):
        s.calls("bot", "shell", "bash", {"command": command}, error="EOFError: EOF when reading a line")
    text = shown(s)
    different = "(with different arguments, first «python3 crackme.py», the last time «python3 -c 'import crackme'»)"
    assert f"bash (shell) failed ×2 {different}: «EOFError" in text
    block = block_of(s.contracts)
    assert not list(faults(block, s.contracts))
    claim = next(claim for claim in block.failures if "×2" in claim.text)
    wrong = claim.text.replace(f" failed ×2 {different}", " with «python3 -c 'import crackme'» failed ×2")
    found = faults(replace(block, failures=(replace(claim, text=wrong),)), s.contracts)
    assert any("says that 2 calls failed with the same arguments; 1 did" in fault for fault in found)


def test_sentences_of_one_message_are_on_one_line_in_their_order() -> None:
    s = Session()
    s.says("ann", "bot", "Please check every node of the two clusters.", "I will check them now.")
    many_steps(s)
    s.says(
        "ann",
        "bot",
        "The nodes N-7 and N-9 are slow since Monday. We decided to replace N-9. "
        "Could you please tell me which of the other nodes have the same disks?",
        "I will look at the disks.",
    )
    many_steps(s, 4)
    text = shown(s)
    assert in_order(text, "N-9 are slow since Monday", "We decided to replace N-9.", "Could you please tell me")
    assert sum("N-9" in line for line in text.splitlines()) == 1


def test_an_error_that_is_the_whole_output_of_a_completed_command_is_told_as_an_error() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please compress the old files of the test bed."})
    s.calls("bot", "shell", "bash", {"command": "find . -print0 | xargs -0 gzip"}, {"output": "Malformed command"})
    s.calls("bot", "shell", "bash", {"command": "gzip -9 a.log"}, {"output": "a.log: 61% smaller"})
    block = block_of(s.contracts)
    assert faults(block, s.contracts) == []
    assert "| xargs -0 gzip» → error: «Malformed command»" in prompt_text([block], 512)[0]
    wrong = tuple(replace(claim, text=claim.text.replace("→ «a.log", "→ error: «a.log")) for claim in block.decisions)
    assert any(
        "names an error, but it does not" in fault for fault in faults(replace(block, decisions=wrong), s.contracts)
    )


def test_the_end_is_told_once_and_with_its_figures() -> None:
    s = Session()
    aim = s.asks(
        "ann", "lead", "solve", {"text": "How many of the clients in the list will get the design for sunsets?"}
    )
    many_steps(s)
    s.answers(s.asks("lead", "terminal", "speak", {}, aim), {"text": "exitcode: 0\nCode output: 4"})
    answer = {
        "text": "The code has been run successfully and returned its result.\n\n"
        "- The column of the street addresses was found.\n- The numbers of the streets were extracted.\n"
        "- The number of clients in the list that will get the design for sunsets is 4.\n\n"
        "The result was confirmed by the data and by the code, so it is final."
    }
    s.answers(s.asks("lead", "checker", "speak", {}, aim), answer)
    s.answers(s.asks("lead", "checker", "speak", {}, aim), {"text": "TERMINATE"})
    s.answers(aim, answer)
    text = shown(s)
    assert "terminal: «Code output: 4»" in text
    assert "the design for sunsets is 4." in text.partition("End:")[2]
    assert "TERMINATE" not in text


def test_the_short_result_of_an_act_is_not_shown_again_as_words() -> None:
    s = Session()
    s.says("ann", "bot", "Please hand my booking to a person of your team.", "I will do that now.")
    many_steps(s)
    s.calls("bot", "desk", "transfer_to_person", {"summary": "Ann wants a person."}, {"text": "Transfer successful"})
    assert shown(s).count("Transfer successful") == 1


def test_a_text_that_hands_the_task_on_gives_way_to_what_was_found() -> None:
    s = Session()
    task = "How many of the clients in the list of the awning company will get the design for sunsets?"
    aim = s.asks("ann", "lead", "solve", {"text": task})
    plan = f"You are given a task.\n# Task\n{task}\n# Plan\nDetermine which addresses are even.\n" + (
        "The addresses must be read from the list exactly as they are given there.\n" * 3
    )
    s.answers(s.asks("lead", "expert", "speak", {}, aim), {"text": plan})
    many_steps(s)
    s.answers(s.asks("lead", "counter", "speak", {}, aim), {"text": "Most of the houses in the list have odd numbers."})
    text = shown(s, 256)
    assert "counter: «Most of the houses in the list have odd numbers.»" in text
    assert "Determine which" not in text


def test_the_options_from_which_a_person_chooses_are_shown_with_their_items() -> None:
    s = Session()
    s.says("ann", "bot", "Please book a boat to the island for me.", "On which day would you like to leave?")
    many_steps(s)
    s.says(
        "ann",
        "bot",
        "On Monday morning, and with my bicycle.",
        "These boats to the island leave on Monday:\n\n1. **Boat K-17**\n   - Departure: 07:00\n   - Price: 12 EUR\n\n"
        "2. **Boat K-23**\n   - Departure: 09:30\n   - Price: 15 EUR\n\nWhich of them would you like?",
    )
    s.says("ann", "bot", "I'll go with option 2.", "I have booked the boat for you.")
    many_steps(s, 12)
    offer = "«These boats to the island leave on Monday: 1. Boat K-17 - Departure: 07:00 - Price: 12 EUR 2. Boat K-23"
    assert in_order(shown(s), offer, "I'll go with option 2.")


def test_a_sentence_that_points_at_another_one_and_a_yes_are_shown_with_what_they_mean() -> None:
    s = fields()
    text = (
        "I have read the map of the fields.\n\nWe take the northern field to be a regular hexagon.\n\n"
        "@judge and @planner_2, please confirm that the final result K-77 holds under this assumption."
    )
    s.calls("lead", "surveyor", "speak", {}, {"text": text})
    page = (
        'The search has failed again.\n\nLet us use this page of the wiki:\n\n"Wiki:Fields/November 2016"\n\nTERMINATE'
    )
    s.calls("lead", "editor", "speak", {}, {"text": page})
    proposal = "I can remove the fence between both fields for you. Would you like me to do that?"
    s.says("ann", "bot", "The southern field is divided in two.", proposal)
    s.says("ann", "bot", "Yes, please go ahead.", "The work has begun.")
    many_steps(s, 12)
    s.says(
        "ann", "bot", "Is there anything else?", "A second fence stands in the east. Would you like me to do that too?"
    )
    told = shown(s)
    assert "We take the northern field to be a regular hexagon. @judge and @planner_2, please confirm" in told
    assert 'Let us use this page of the wiki: "Wiki:Fields/November 2016"' in told
    assert "TERMINATE" not in told
    assert in_order(told, "remove the fence between both fields", "Yes, please go ahead.")
    assert "A second fence stands in the east. Would you like me to do that too?»" in told


def test_a_finding_with_a_figure_comes_before_a_request_to_other_agents_to_confirm_it() -> None:
    s = fields()
    formula = (
        "Let us calculate with this formula:\n\na = 3 * s * s\n\nThus, based on this assumption, it is 259.81 square units."
        "\n\nThe details are needed.\n\n@judge and @planner, please confirm if this approach is acceptable as a result."
    )
    s.calls("lead", "geometer", "speak", {}, {"text": formula})
    s.says("ann", "bot", "Is there anything else?", "No, there is not.")
    block = block_of(s.contracts)
    [told] = [
        claim for claim in block.results if claim.text.startswith("geometer: ") and "259.81" in claim.brief + claim.text
    ]
    assert "please confirm" not in (told.brief or told.text)


def test_the_exact_strings_of_several_results_have_their_keys() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please compare the bookings of our team for the fair."})
    many_steps(s, 90)
    for n in (1, 2, 3):
        booking = {"hotel": f"H-80{n}", "arrival": f"2026-06-0{n}", "card": f"visa_44{n}"}
        s.calls("bot", "desk", "get_guest", {"guest": f"B-9{n}"}, booking)
    text = shown(s, 1024)
    assert "B-91: hotel H-801, arrival 2026-06-01, card visa_441; B-92: hotel H-802, arrival 2026-06-02" in text


def test_exact_strings_are_on_the_line_of_the_call_that_names_them() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please find out what is known about the guests of the fair."})
    many_steps(s, 90)
    profile = {"name": "Ann Lee", "notes": [f"stays with visa_77{n}" for n in range(5)], "card": "visa_4417"}
    s.calls("bot", "desk", "get_guest", {"guest": "G-1"}, {f"k{n}": f"ID-{n}{n}7{n}" for n in range(30)} | profile)
    many_steps(s, 90)
    lines = shown(s).splitlines()
    owner = next(line for line in lines if "get_guest" in line)
    assert "(naming " in owner
    assert not any("ID-" in line for line in lines if line.startswith("Also named:"))


def test_a_failure_in_brief_is_told_as_one_and_a_sentence_is_whole() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please find out why the nodes of the cluster are slow."})
    many_steps(s, 90)
    plan = {"plan": "P-7", "nodes": [f"N-{n}" for n in range(40)]}
    s.calls("bot", "desk", "update_plan", plan, error="not enough seats")
    cause = "because their disks are almost full: one of the jobs of the cluster, "
    reason = f"{cause}the one that removes old logs, has not run since the update in May."
    s.says("ann", "bot", "What is the cause?", f"I have looked at all of them. The nodes are slow {reason}")
    s.says("ann", "bot", "And how is node N-3 today?", "Node N-3 works as before.")
    block = block_of(s.contracts)
    assert faults(block, s.contracts) == []
    assert block.failures[0].brief == "update_plan (desk) failed: «not enough seats»"
    assert f"bot: «The nodes are slow {reason}»" in [claim.brief or claim.text for claim in block.results]


def test_a_list_before_the_end_is_shown_in_brief_with_its_items() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please find out which bookings of mine are for the fair."})
    many_steps(s)
    items = "1. Room A-17, with a desk\n2. Room A-23, with two beds\n3. Room A-31, with a view of the lake\n"
    s.says(
        "ann",
        "bot",
        "Which rooms are free?",
        f"I have found the rooms. Here they are:\n\n{items}\nWhich one do you want?",
    )
    s.asks("ann", "bot", "assist", {"text": "I will tell you tomorrow, thank you."})
    block = block_of(s.contracts)
    assert faults(block, s.contracts) == []
    assert any("Here they are: 1. Room A-17" in (claim.brief or claim.text) for claim in block.results)

"""What a block says about teams of agents that read pages and run programs: what they found, and why the work ended."""

from local_blocks import many_steps, shown
from memory_sessions import Session

QUESTION = "Which museum in Basel has the most paintings by Holbein?"


def team() -> tuple[Session, str]:
    """A session of several agents, and the question of a person, which is not answered yet."""
    s = Session()
    aim = s.asks("ann", "lead", "solve", {"text": QUESTION})
    many_steps(s)
    return s, aim


def says(s: Session, who: str, text: str) -> None:
    s.calls("lead", who, "speak", {}, {"text": text})


def test_of_a_long_page_the_sentences_are_shown_that_have_to_do_with_the_question() -> None:
    s, _ = team()
    menu = "".join(f"Offer {n} of the shop\nAdd to cart\n" for n in range(150))
    says(
        s,
        "surfer",
        "Welcome to the city portal.\nThe final result of the raffle was found in box X-17.\n"
        f"The Kunstmuseum owns 19 paintings by Holbein, the largest collection.\n{menu}",
    )
    text = shown(s, 256)
    assert "The Kunstmuseum owns 19 paintings by Holbein" in text
    assert "raffle" not in text


def test_a_step_that_names_its_object_tells_what_was_looked_up() -> None:
    s, _ = team()
    says(s, "surfer", "I typed 'Holbein paintings in Basel' into the search field.")
    says(s, "surfer", "I scrolled down one page.")
    assert "I typed 'Holbein paintings in Basel' into the search field." in shown(s)


def test_an_answer_of_a_team_tells_why_the_work_ended() -> None:
    s, aim = team()
    answer = "Round limit (20) reached.\nresponse = await client.create(steps)\nFINAL ANSWER: Kunstmuseum X-1"
    says(s, "judge", answer)
    s.answers(aim, {"text": answer})
    end = shown(s).partition("End: lead answered ann with the words of judge: ")[2]
    assert end.startswith("«Round limit (20) reached. … FINAL ANSWER: Kunstmuseum X-1»")


def test_an_answer_that_is_the_error_of_a_call_names_the_agent_that_failed_and_the_error_once() -> None:
    s, aim = team()
    error = 'exitcode: 1\nTraceback (most recent call last):\n  File "a.py", line 3, in <module>\nNameError: no name web_search\n'
    s.calls("lead", "terminal", "speak", {}, error=error)
    s.answers(aim, {"text": error.rstrip()})
    assert "End: lead answered ann with the words of terminal: «NameError: no name web_search»" in shown(s)
    assert "lead reported an error" not in shown(s)


def test_an_error_with_the_body_of_a_response_shows_the_message_in_it() -> None:
    s, _ = team()
    detail = "'details': {" + ", ".join(f"'filter_{n}': {{'hit': False}}" for n in range(5)) + "}"
    body = "{'error': {" + detail + ", 'message': \"The text breaks the rules, so it was held back.\", 'param': None}}"
    says(
        s,
        "writer",
        f"I could not write it.\nTraceback (most recent call last):\nmodel.RequestError: Error code: 400 - {body}",
    )
    line = "«model.RequestError: Error code: 400 - … The text breaks the rules, so it was held back.»"
    assert f"writer reported an error: {line}" in shown(s)


def test_the_last_line_of_an_output_is_shown_as_its_result() -> None:
    s, _ = team()
    listing = "".join(f"-rw-r--r-- 1 home users {n * 977} May 19 16:07 table_{n}.csv\n" for n in range(30))
    says(s, "terminal", f"total 33386\n{listing}Holbein 2160\n")
    assert "terminal: «Holbein 2160»" in shown(s)

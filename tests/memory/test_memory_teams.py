"""What a block says about teams of agents that read pages and run programs: what they found, and why the work ended."""

from local_blocks import many_steps, shown
from memory_sessions import Session

QUESTION = "Which museum in Basel has the most paintings by Hans Holbein the Younger?"


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


PLAN = (
    f"Hello team, this comes from the office.\n\n# Task\n{QUESTION} Please be thorough.\n\n# Advice of the office\n"
    "## Plan for the search\n1. The archivist lists the museums of Basel.\n2. The curator counts the paintings.\n\n"
    "## Format\n- The name of a museum\n\n## Results so far\nThe Historical Museum owns 3 paintings.\n"
)


def test_a_text_that_hands_on_the_aim_shows_its_plan_and_earlier_results() -> None:
    s, _ = team()
    says(s, "archivist", PLAN)
    text = shown(s)
    steps = "«1. The archivist lists the museums of Basel. 2. The curator counts the paintings.»"
    assert f"archivist: «Advice of the office … Plan for the search» {steps}" in text
    assert "archivist: «Results so far» «The Historical Museum owns 3 paintings.»" in text


def test_a_plan_in_the_request_of_one_agent_to_another_is_shown_too() -> None:
    s, aim = team()
    s.answers(
        s.asks("lead", "curator", "count_paintings", {"text": PLAN}, parent=aim), {"text": "I count 19 paintings."}
    )
    assert "lead: «Advice of the office … Plan for the search» «1. The archivist lists" in shown(s)


def test_headings_in_a_text_about_something_else_are_no_plan() -> None:
    s, _ = team()
    says(s, "archivist", PLAN.replace(QUESTION, "Which inn is near?"))
    assert "Plan for the search" not in shown(s)


def test_a_plan_takes_no_space_from_citations() -> None:
    for count in range(12, 18):
        s = Session()
        aim = s.asks("ann", "lead", "solve", {"text": QUESTION})
        says(s, "archivist", PLAN + "Nothing else is known of it. " * 60)
        for n in range(count):
            says(
                s,
                f"guide_{n}",
                f"Room {n}{n} of the museum has {n + 3} paintings by Holbein because its owner gave them to it.",
            )
        s.answers(aim, {"text": "The Kunstmuseum has the most paintings by Holbein."})
        assert "[x]: id ending in x" in shown(s)

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


PROGRAM = """Let's read the museum's list.

```python
import requests
# Fetch the page
url = "https://museum.example-basel.ch/holbein"
page = requests.get(url, timeout=10)
def count(rows):
    return len(rows)
table = page_table(page, header="Painter")
print(table)
```

I will run this script now.
"""


def team_with_code() -> Session:
    """A team of which one agent writes code that another one runs. Its question is answered by the last code."""
    s, aim = team()
    says(s, "coder", PROGRAM)
    says(s, "terminal", "exitcode: 0 (execution succeeded)\nCode output: []\n")
    second = PROGRAM.replace('header="Painter"', 'header="Artist", skip=2').replace("I will run this script now.", "")
    last = f"{second}\nLet me verify the count of Holbein with this script."
    says(s, "coder", last)
    s.answers(aim, {"text": last})
    return s


def test_the_telling_lines_of_code_that_was_run_are_quoted_and_what_it_printed_even_if_that_is_an_empty_list() -> None:
    text = shown(team_with_code())
    lines = '«url = "https://museum.example-basel.ch/holbein"» «page = requests.get(url, timeout=10)»'
    assert f'{lines} «table = page_table(page, header="Painter")»' in text
    assert "- terminal: «Code output: []»" in text
    assert "import requests" not in text
    assert "I will run this script now" not in text


def test_later_code_shows_what_it_changed_and_code_at_the_end_what_was_still_to_be_run() -> None:
    end = shown(team_with_code()).partition("\nEnd: ")[2]
    assert '«table = page_table(page, header="Artist", skip=2)»' in end
    assert "Let me verify the count of Holbein with this script." in end
    assert "url =" not in end


def test_of_code_the_address_that_it_reads_comes_first() -> None:
    s, aim = team()
    says(s, "coder", PROGRAM)
    says(s, "terminal", "exitcode: 0 (execution succeeded)\nCode output: []\n")
    parts = "\n".join(
        f"{name} = soup.find('span', class_='card__{name}').get_text()" for name in ("title", "artist", "year")
    )
    last = f'Let us read the page.\n```python\n{parts}\nurl = f"https://museum.example-basel.ch/search/{{number}}"\n```'
    says(s, "coder", last)
    s.answers(aim, {"text": last})
    assert "museum.example-basel.ch/search/" in shown(s, 300).partition("\nEnd: ")[2]


def test_code_that_nobody_ran_is_not_quoted() -> None:
    s, _ = team()
    says(s, "coder", PROGRAM)
    says(s, "reader", "The list of the museum has 19 paintings by Holbein, as I read on its page.")
    assert "url =" not in shown(s)


def test_an_agent_that_had_nothing_to_run_and_the_one_that_ended_the_work_are_shown() -> None:
    s, aim = team()
    says(s, "terminal", "There is no code from the last message for me to execute. Let other participants continue.")
    answer = "The Kunstmuseum has the most paintings by Holbein, 19 of them."
    says(s, "reader", answer)
    says(s, "judge", "TERMINATE")
    s.answers(aim, {"text": answer})
    text = shown(s)
    assert "- terminal: «There is no code from the last message for me to execute.»" in text
    assert "- judge: «TERMINATE»" in text


def test_that_data_are_hypothetical_or_a_source_cannot_be_read_is_kept_although_the_agent_announces_a_step() -> None:
    s, _ = team()
    for n in range(8):
        says(s, "reader", f"Room {n} of the Kunstmuseum has {n + 3} paintings, of which {n} are by Holbein.")
    reason = "Since we have no direct access to the catalogue, I will use hypothetical figures for the museums."
    says(s, "reader", f"{reason} Room 40 has 12 paintings.")
    assert reason in shown(s, 256)


def test_values_that_a_team_was_given_as_known_are_shown_with_their_heading() -> None:
    s = Session()
    question = f"{QUESTION} Name it, and the number of its paintings by him in full."
    s.asks("ann", "lead", "solve", {"text": question})
    many_steps(s)
    plan = "## Plan\n1. Read the list of the museum.\n2. Count the paintings.\n"
    conditions = "## Conditions\n- The data must be accurate and come from a source that can be checked.\n"
    says(
        s,
        "manager",
        f"{question} Solve it with care.\n{plan}{conditions}## Results so far\n- Kunstmuseum: 19 paintings\n",
    )
    text = shown(s)
    assert "manager: «Results so far - Kunstmuseum: 19 paintings»" in text
    assert "must be accurate" not in text


def test_a_step_shows_the_page_to_which_it_led() -> None:
    s, _ = team()
    page = "The viewport shows 12% of the page.\n" + "Offer of the shop\nAdd to cart\n" * 150
    address = "https://museum.example/holbein"
    says(s, "surfer", f"I clicked 'Works'.\n\nHere is a screenshot of [Works]({address}?sort=year&ref=12). {page}")
    long = f"{address}?query={'+'.join(['paintings'] * 12)}"
    says(s, "surfer", f"I typed 'Holbein' into 'Search'.\n\nHere is a screenshot of [Search]({long}). {page}")
    text = shown(s)
    assert f"«I clicked 'Works'.» (at {address}?sort=year)" in text
    assert f"«I typed 'Holbein' into 'Search'.» (at {address})" in text


def test_what_a_review_says_is_shown_as_its_own_although_the_next_prompt_repeats_it() -> None:
    s, _ = team()
    finding = "With this change, the page of the museum is read although its table has no heading."
    review = f"The script is well written. It lacks a check of its rows.\n```python\ncheck(rows)\n```\n{finding}"
    s.calls(
        "coder", "reviewer", "review", {"text": "You are a reviewer. " + "Follow the rules. " * 15}, {"text": review}
    )
    prompt = f"You are the coder of a team. {'Be careful with the names of files. ' * 10}The comments are: {review}"
    s.calls("reviewer", "coder", "change", {"text": prompt}, {"text": "The script checks its rows now, as was wished."})
    assert finding in shown(s).partition("reviewer: «")[2].partition("\n")[0]

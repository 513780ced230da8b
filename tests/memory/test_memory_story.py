"""What a reader of a block needs to go on: errors inside results, the course of a dialogue, and long results."""

from local_blocks import block_of, faults, many_steps, shown
from memory_sessions import Session
from msgspec.structs import replace

TRACEBACK = 'Traceback (most recent call last):\n  File "/srv/job.py", line 7, in main\n    load(path)\n'


def test_an_error_in_the_text_of_a_successful_step_is_reported_with_its_reason() -> None:
    s = Session()
    aim = s.asks("ann", "bot", "assist", {"text": "Please find out how many nodes of the cluster are down."})
    many_steps(s)
    page = "The page lists nodes. " * 200
    error = f"{page}\n{TRACEBACK}quota.QuotaError: 403, the project may send 10 requests a day\n"
    s.answers(s.asks("bot", "surfer", "step", {"text": "Open the page of the cluster."}, aim), {"text": error + page})
    many_steps(s)
    assert "surfer reported an error: «quota.QuotaError: 403, the project may send 10 requests a day»" in shown(s)


def test_an_error_in_the_middle_of_a_long_output_is_told() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please build the package."})
    many_steps(s)
    output = "compiling\n" * 500 + "error: linker 'cc' not found\n" + "cleaning\n" * 500
    s.calls("bot", "shell", "bash", {"command": "make all"}, {"output": output})
    many_steps(s)
    assert "error: linker 'cc' not found" in shown(s)


def test_the_reason_of_a_failure_that_begins_with_its_exit_code_is_told() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please download the data set of the survey."})
    progress = "exitcode: 6 (execution failed)\nCode output:  % Total  % Received\n"
    s.calls("bot", "terminal", "speak", {}, error=f"{progress}curl: (6) Could not resolve host: data.test\n")
    many_steps(s, 60)
    assert "speak (terminal) failed: «curl: (6) Could not resolve host: data.test»" in shown(s)


def test_an_answer_that_another_agent_wrote_is_quoted() -> None:
    s = Session()
    aim = s.asks("ann", "bot", "assist", {"text": "Please find out how many nodes of the cluster are down."})
    many_steps(s)
    answer = {"text": "Two nodes are down, N-3 and N-9, because their disks are full."}
    s.answers(s.asks("bot", "expert", "step", {"text": "Count the nodes that are down."}, aim), answer)
    s.answers(aim, answer)
    text = shown(s)
    assert "End: bot answered ann with the words of expert: «Two nodes are down, N-3 and N-9, because their" in text
    assert text.count("because their disks are full") == 1


def test_verify_rejects_a_reported_error_and_a_passed_on_answer_that_nobody_wrote() -> None:
    s = Session()
    aim = s.asks("ann", "bot", "assist", {"text": "Please find out how many nodes of the cluster are down."})
    many_steps(s)
    text = {"text": f"I opened the page.\n{TRACEBACK}quota.QuotaError: 403, the limit is reached"}
    s.answers(s.asks("bot", "surfer", "step", {"text": "Open the page of the cluster."}, aim), text)
    s.answers(aim, text)
    block = block_of(s.contracts)
    for marker, quote in (("reported an error", "I opened the page."), ("answered", "The page is fine.")):
        changed = tuple(
            replace(claim, text=f"{claim.text.partition('«')[0]}«{quote}»", quotes=(quote,), brief="")
            if marker in claim.text
            else claim
            for claim in block.results
        )
        assert changed != block.results
        assert faults(replace(block, results=changed), s.contracts)


def test_what_a_person_asks_for_on_the_way_is_kept() -> None:
    s = Session()
    s.says("ann", "bot", "Hi! I'd like to change my bookings.", "Of course. Which bookings do you want to change?")
    many_steps(s, 40)
    wish = "I'm looking to cancel all bookings that take longer than three hours."
    s.says("ann", "bot", f"Thanks for the list. {wish}", "I'll check the details of each booking now, one by one.")
    many_steps(s, 40)
    s.says("ann", "bot", "And is there a seat by the window?", "Let me look up the seats of your booking for you now.")
    for max_tokens in (192, 256, 512):
        assert f"ann: «{wish}»" in shown(s, max_tokens)


def test_a_long_result_is_shortened_instead_of_left_out_and_longer_with_more_tokens() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please list the columns of every table of the survey database."})
    tables = ("people", "places", "visits", "rates", "notes", "plans")
    for table in tables:
        columns = ", ".join(f"('{table}_{n}', 'varchar({n + 10})')" for n in range(14))
        s.calls("bot", "database", "execute_sql", {"query": f"SHOW COLUMNS FROM {table}"}, {"output": f"[{columns}]"})
    lengths = []
    for max_tokens in (384, 512, 768):
        text = shown(s, max_tokens)
        assert all(f"SHOW COLUMNS FROM {table}» → «[('{table}_0'" in text for table in tables)
        lengths.append(len(text))
    assert lengths[0] > 4 * 300
    assert lengths[1] > 4 * 420
    assert lengths == sorted(lengths)


def test_the_texts_in_printed_json_are_sentences_without_their_keys() -> None:
    s = Session()
    aim = s.asks("ann", "bot", "assist", {"text": "Please find out how many nodes of the cluster are down."})
    many_steps(s)
    reason = "The count is not final because node N-9 did not answer."
    ledger = f'{{\n  "is_done": {{\n    "reason": "{reason}",\n    "answer": false\n  }}\n}}'
    s.answers(s.asks("bot", "planner", "think", {}, aim), {"text": ledger})
    many_steps(s)
    assert f"planner: «{reason}»" in shown(s)


def test_a_record_that_fits_contains_results_that_repeat_their_request() -> None:
    s = Session()
    for text in ("Hello there", "second thing"):
        s.answers(s.asks("ann", "bot", "echo", {"text": text}), {"message": f"Echo: {text}"})
        s.answers(s.asks("ann", "bot", "uppercase", {"text": text}), {"text": text.upper()})
    text = shown(s)
    for result in ("Echo: Hello there", "HELLO THERE", "Echo: second thing", "SECOND THING"):
        assert f"«{result}»" in text, text


def test_a_list_that_the_answer_announces_is_quoted_with_its_items() -> None:
    s = Session()
    aim = s.asks("ann", "bot", "assist", {"text": "Which shops near the park have open mains under $15?"})
    many_steps(s, 60)
    shops = "\n".join(
        f"{n}. **{shop}** - {n} Macdougal Street" for n, shop in enumerate(("Saigon Shack", "Mamouns"), 1)
    )
    thanks = "Thank you for the review. I have checked everything that you asked for.\n"
    s.answers(
        aim, {"text": f"{thanks}Therefore, the final list of shops is:\n\n{shops}\n\nPlease tell me if this helps."}
    )
    assert "the final list of shops is: Saigon Shack" in (text := shown(s, 256)), text
    assert "Mamouns" in text


def test_rows_of_figures_are_no_sentences_of_an_agent() -> None:
    s = Session()
    aim = s.asks("ann", "bot", "assist", {"text": "When was the share first above $50?"})
    many_steps(s, 60)
    page = "S&P 500 5,883.13 +1.50 (+0.03%)\n| Oct 18, 2024 | 236.18 | 236.18 | 234.01 |\nThe shares had risen to $29 by May.\n"
    s.answers(s.asks("bot", "surfer", "step", {"text": "Open the page of the share."}, aim), {"text": page})
    many_steps(s, 60)
    text = shown(s, 256)
    assert ("had risen to $29" in text, "S&P" in text, "236.18" in text) == (True, False, False), text


def test_a_spoken_request_for_another_capability_than_the_first_one_names_it() -> None:
    s = Session()
    s.answers(
        s.asks("orchestrator", "greeter", "greet", {"text": "Say hello to Ann Lee."}), {"text": "Hello, Ann Lee."}
    )
    s.answers(s.asks("orchestrator", "speaker", "echo", {"text": "It is cold in Oslo."}), {"text": "So it is."})
    text = shown(s)
    assert "Aim: «Say hello to Ann Lee.»" in text
    assert "orchestrator → echo: «It is cold in Oslo.»" in text


def test_the_label_of_an_exact_string_has_no_marks_of_a_format() -> None:
    s = Session()
    aim = s.asks("ann", "bot", "assist", {"text": "Please find out how many nodes of the cluster are down."})
    many_steps(s)
    s.answers(s.asks("bot", "catalog", "get_entry", {"about": "racks"}, aim), {"entry": {"@id": "urn:rack:7f3a-19"}})
    many_steps(s)
    text = shown(s)
    assert "urn:rack:7f3a-19" in text
    assert "@id" not in text.partition("Also named")[2]

"""What memory keeps of sessions in which agents write code: errors in outputs, the last run, reviews, names in code."""

import pytest
from local_blocks import block_of, faults, many_steps, shown
from memory_sessions import Session

from aorch.memory.local.error_lines import reported_in
from aorch.memory.prompt import prompt_text

FILE = "\n".join(f"{n}:    value_{n} = compute({n})" for n in range(60))
DUTY = (
    "You are the {role} of a software company. You will make decisions that align with the goals of the organization, and you "
    "must write a response that solves the task. We have decided to complete the task as software with several files. "
)


def coding() -> Session:
    """A session in which an agent has read many files."""
    s = Session()
    s.asks("ann", "coder", "solve", {"text": "Fix the writer: it writes the mark twice when it appends."})
    for n in range(12):
        run(s, f"cat src/part_{n}.py", FILE)
    return s


def run(s: Session, command: str, output: str, thought: str = "") -> str:
    reason = {"thought": thought} if thought else {}
    return s.calls("coder", "shell", "execute", {**reason, "command": command}, {"output": output})


def company() -> Session:
    s = Session()
    s.asks("ann", "lead", "develop", {"text": "Develop a small program that shows the time in several cities."})
    return s


def step(s: Session, role: str, task: str, answer: str) -> str:
    """A step of a team: a long prompt with a template, and the answer."""
    return s.calls("lead", role, task, {"text": f"{DUTY.format(role=role)}{task}\n\n{FILE}"}, {"text": answer})


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("Your edit was not applied.\n\nERRORS:\n- E999 SyntaxError: unmatched ')'\n", "SyntaxError: unmatched ')'"),
        ("error[E0425]: cannot find value `x`\n --> main.rs:3:5\n", "error[E0425]: cannot find value `x`"),
        ("Fetched 3 files.\nbash: line 282: sudo: command not found\n", "bash: line 282: sudo: command not found"),
        ("cat: notes.txt: No such file or directory", "cat: notes.txt: No such file or directory"),
        ("\nEXECUTION TIMED OUT", "EXECUTION TIMED OUT"),
        ("Script completed successfully, no errors. Result: True", ""),
        ("2 files changed", ""),
    ],
)
def test_the_output_of_a_command_tells_what_went_wrong(output: str, error: str) -> None:
    assert reported_in([output], of_command=True) == error


def test_code_is_quoted_as_it_was_written() -> None:
    s = Session()
    s.says("ann", "coder", "Keep **all** files, please.", "I will call `pack(*files, **options)` for **each folder**.")
    run(s, "echo `pwd` $((2**3))", "/src 8")
    text = shown(s)
    assert "«Keep all files, please.»" in text
    assert "I will call `pack(*files, **options)` for each folder." in text
    assert "echo `pwd` $((2**3))" in text


def test_an_error_in_an_output_is_shown_even_if_there_is_little_room() -> None:
    s = coding()
    run(s, "edit 10:12\n    mark = bom\n    write(mark))\nend_of_edit", "ERRORS:\n- E999 SyntaxError: unmatched ')'")
    for n in range(8):
        run(s, f"edit {n}:{n}\n    value_{n} = compute({n}, again=True)\nend_of_edit", "File updated.")
    assert "→ error: «SyntaxError: unmatched ')'»" in shown(s, 256)


def test_the_result_of_the_last_program_is_shown_even_if_other_commands_follow() -> None:
    s = coding()
    run(
        s,
        "edit 10:10\n    mark = bom and not appending\nend_of_edit",
        "File updated.",
        "The mark is written too often.",
    )
    run(s, "python reproduce.py", "The mark was written once.", "Now I run the script again to see if the bug is gone.")
    run(s, "rm reproduce.py", "", "The script is not needed any more.")
    run(s, "submit", "diff --git a/src/writer.py b/src/writer.py\n@@ -10 +10 @@\n+    mark = bom and not appending")
    for max_tokens in (256, 512):
        text = shown(s, max_tokens)
        assert "«python reproduce.py»" in text
        assert "→ «The mark was written once.»" in text
    assert "submit → «diff --git a/src/writer.py" in text


def test_what_every_prompt_says_is_no_decision_of_the_session() -> None:
    s = company()
    for n in range(6):
        step(s, f"role-{n}", f"Write part {n}.", f"Part {n} shows the time in city {n}. " + "It has a label. " * 20)
    assert "We have decided" not in shown(s)


def test_of_a_long_answer_to_a_prompt_its_first_statement_and_its_verdict_are_kept() -> None:
    s = company()
    for n in range(3):
        step(
            s,
            f"writer-{n}",
            f"Write part {n}.",
            f"Part {n} is written. " + "The label is in the middle of the window. " * 12,
        )
    review = "\n".join(
        f"{n}. Yes, requirement {n} of the design is met by the code as it was written." for n in range(1, 9)
    )
    step(
        s,
        "reviewer",
        "Review all parts.",
        f"The city of the third label is hard-coded.\n{review}\n\nResult: two changes",
    )
    text = shown(s)
    assert "The city of the third label is hard-coded." in text
    assert "Result: two changes" in text


def test_code_in_answers_is_known_by_its_files_its_classes_and_its_single_lines() -> None:
    s = company()
    code = "\n".join(f"        self.label_{n} = Label(self, {n})" for n in range(40))
    step(
        s,
        "programmer",
        "Write it.",
        f"clock_window.py\n```python\nclass CityClock:\n    def draw(self):\n{code}\n```\n",
    )
    answer = "The program needs one package, which is named here:\n\nrequirements.txt\n```\npytz==2021.1\n```\n"
    step(s, "writer", "Name the packages.", answer)
    for n in range(8):
        step(
            s,
            f"tester-{n}",
            f"Test part {n}.",
            f"Part {n} was tested. " + "The label is in the middle of the window. " * 12,
        )
    text = shown(s)
    assert "pytz==2021.1" in text
    assert all(name in text for name in ("clock_window.py", "CityClock", "requirements.txt"))


def test_the_sentences_of_a_structured_document_are_read() -> None:
    s = company()
    design = {
        "approach": "We keep the time zones in a table of the program. Nothing is read from the network at any time.",
        "files": ["main.py", "zones.py"],
        "diagram": "classDiagram\n" + "\n".join(f"    class C{n} {{\n        +draw() void\n    }}" for n in range(20)),
    }
    s.calls("lead", "architect", "write_design", {"requirements": '{"goal": "' + "show the time; " * 60 + '"}'}, design)
    for n in range(10):
        step(
            s,
            f"tester-{n}",
            f"Test part {n}.",
            f"Part {n} was tested. " + "The label is in the middle of the window. " * 12,
        )
    text = shown(s)
    assert "architect: «We keep the time zones in a table of the program." in text
    assert '{"goal"' not in text


def test_the_last_wishes_of_a_person_are_kept_whatever_their_form() -> None:
    s = Session()
    for n in range(20):
        reply = (
            f"The limit of step {n} is {n}00, because the file data-{n}.csv has {n}00 rows, and its test has passed."
        )
        s.says("paul", "coder", f"can you tell me why step_{n}.py needs the limit {n}00 of data-{n}.csv?", reply)
    s.says("paul", "coder", "percentages on top of the bars", "The bars now have their percentages on top of them.")
    s.says("paul", "coder", "same for the chart of the syntax errors", "The other chart has them now as well.")
    text = shown(s)
    assert "percentages on top of the bars" in text
    assert "same for the chart of the syntax errors" in text


def test_a_look_at_the_state_is_no_aim_if_a_person_says_one_later() -> None:
    s = Session()
    s.calls("paul", "coder", "status", {}, {"files": 3})
    aim = "all events should contain the version of the program as a property"
    s.says("paul", "coder", aim, "Every event now has the version. " * 8)
    for n in range(20):
        s.says(
            "paul", "coder", f"move step {n} of the writer into its own module", f"Step {n} has its own module. " * 9
        )
    assert f"Aim: «{aim}»" in shown(s)


def test_code_is_told_by_the_comment_at_its_start_before_its_failure() -> None:
    s = Session()
    s.says("ann", "bot", "Who painted the portrait in the museum?", "I will look it up.")
    for n in range(20):
        s.calls(
            "lead",
            f"member{n % 3}",
            "speak",
            {},
            {"text": f"I have looked at room {n} of the museum, which is closed."},
        )
    code = "```python\nimport requests\n\n# Search the catalogue for portrait P-29.5\nprint(search('P-29.5'))\n```"
    s.calls("lead", "expert", "speak", {}, {"text": f"Let me do that now.\n\n{code}\n"})
    s.calls("lead", "shell", "speak", {}, error="NameError: name 'search' is not defined")
    script = "The run has ended with exit code 1. Here is a script.\n\n```python\n# Try the import again\ntry:\n    import so\n"
    script += "except ImportError as e:\n    print(f'Import Error: {e}')\n```"
    s.calls("lead", "expert", "speak", {}, {"text": script})
    block = block_of(s.contracts)
    assert faults(block, s.contracts) == []
    told = prompt_text([block], 512)[0]
    assert "reported an error" not in told
    assert "expert: «Search the catalogue for portrait P-29.5" in told.partition("failed: «NameError")[0]


def test_a_long_rule_at_the_end_of_a_line_does_not_stop_the_compression() -> None:
    s = coding()
    s.asks("ann", "coder", "solve", {"text": f"The report is below. Totals {'-' * 80} - \nThe total is 42."})
    s.says("coder", "ann", f"Sum {'=' * 80} ==", "The total of the report is 42.")
    assert "The total of the report is 42." in shown(s)


def test_more_lines_of_a_file_that_was_read_are_shown_if_space_is_left() -> None:
    lines = [f'key_{n} = "secret of the vault number {n}"' for n in range(40)]
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please find out what the vault holds."})
    s.calls("bot", "shell", "bash", {"command": "cat vault.py"}, {"output": "\n".join(lines)})
    s.calls("bot", "shell", "bash", {"command": "python vault.py"}, error="EOFError: EOF when reading a line")
    shown_lines = [line for line in lines if line in shown(s, 512)]
    assert len(shown_lines) >= 8
    assert lines[-1] in shown_lines
    assert not list(faults(block_of(s.contracts), s.contracts))


def test_of_a_line_of_a_log_the_message_is_shown() -> None:
    s = Session()
    s.asks("ann", "company", "build", {"text": "Write a snake game for the terminal."})
    many_steps(s)
    for file in ("snake.py", "food.py"):
        line = f"2026-05-28 17:22:31.685 | INFO     | company.actions.write_code:run:77 - Writing {file}.."
        s.calls("company", "engineer", "write_code", {"text": line}, {"text": f"[2026-05-28 17:22 INFO] Saved {file}"})
    text = shown(s)
    assert "text «Writing snake.py..»" in text
    assert "INFO" not in text


def test_tags_around_the_output_of_a_command_are_not_shown() -> None:
    s = Session()
    s.asks("ann", "coder", "solve", {"text": "Please find out which rules the linter has."})
    many_steps(s)
    for command, output in {
        "rm -f old.txt": "",
        "ls rules": "L001.py\nL060.py",
        "ls scripts/make": "L060.sh missing",
    }.items():
        told = f"<returncode>0</returncode>\n<output>\n{output}\n</output>"
        s.calls("coder", "computer", "execute", {"command": command}, {"output": told})
    text = shown(s)
    assert "«L001.py L060.py»" in text
    assert "returncode" not in text
    assert "output" not in text

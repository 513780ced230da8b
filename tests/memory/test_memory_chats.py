"""What memory keeps of long chats of a person with an agent that works between the turns."""

from local_blocks import block_of, faults, many_steps, shown
from memory_sessions import Session
from msgspec.structs import replace

from aorch.memory.local.collecting import collect_findings
from aorch.memory.prompt import prompt_text

TASKS = (
    "Add a page with the list of all open invoices",
    "Mueve el cálculo del impuesto a un módulo propio y actualiza los tests",
    "請求書の一覧をCSVで書き出せるようにしてください",
    "Теперь раздели файл настроек на два",
)


def pair_session(*, asks_back: bool = False) -> Session:
    """Each turn is followed by several edits, and the editor asks the person in the same words each time."""
    s = Session()
    for turn, task in enumerate(TASKS):
        s.says("ann", "coder", task, f"I change the files of step {turn} now, and will then run everything.")
        for n in range(8):
            edit = s.asks("coder", "editor", "apply_edit", {"path": f"src/part_{turn}/module_{n}.py"})
            s.answers(edit, {"output": f"Applied edit to src/part_{turn}/module_{n}.py"})
            if asks_back:
                question = s.asks(
                    "coder", "ann", "confirm", {"text": f"notes_{turn}_{n}.md\nAdd it to the chat? (y/n)"}
                )
                s.answers(question, {"text": "y"})
    return s


def test_each_request_of_a_person_is_shown_if_agents_work_between_the_turns() -> None:
    text = shown(pair_session())
    assert [task for task in TASKS if task[:20] in text] == list(TASKS)


def test_the_first_and_the_two_newest_requests_are_shown_in_few_tokens() -> None:
    text = shown(pair_session(), 256)
    assert [task for task in (TASKS[0], *TASKS[-2:]) if task[:20] in text] == [TASKS[0], *TASKS[-2:]]


def test_a_person_whom_an_agent_asks_back_remains_a_person() -> None:
    s = pair_session(asks_back=True)
    text = shown(s)
    assert [task for task in TASKS if task[:20] in text] == list(TASKS)
    later = s.contracts[len(s.contracts) // 2 :]
    called = {c["to_agent"] for c in s.contracts if c["contract_type"] == "REQUEST"} - {"ann"}
    assert block_of(later, asked_before=called).aims[0].quotes[0] == TASKS[2]


def test_a_question_that_a_program_repeats_gives_way_to_the_work() -> None:
    text = shown(pair_session(asks_back=True))
    assert text.count("apply_edit") > 3 * text.count("Add it to the chat?")


def test_a_command_that_prepares_the_work_is_not_the_aim() -> None:
    s = Session()
    s.answers(s.asks("ann", "editor", "add_file", {"command": "/add src/car.py"}), {"output": "Added."})
    s.answers(s.asks("coder", "ann", "confirm", {"text": "Create the repository?"}), {"text": "y"})
    s.says("ann", "coder", "Make the car turn faster on dirt roads", "Done.")
    assert block_of(s.contracts).aims[0].quotes == ("Make the car turn faster on dirt roads",)


def test_a_replacement_by_search_is_a_change() -> None:
    s = pair_session()
    s.calls(
        "coder", "editor", "search_replace", {"path": "src/tax.py", "text": "+ RATE = 0.21"}, {"output": "1 line added"}
    )
    assert "search_replace" in collect_findings(s.contracts).done


def failing(*errors: str, capability: str = "add") -> Session:
    s = pair_session()
    for n, error in enumerate(errors):
        s.calls("coder", "git", capability, {"command": f"git add {n}"}, error=error)
    return s


def test_failures_with_another_path_show_what_the_program_said_once() -> None:
    folder = r"C:\Users\Ann Miller\Desktop\projects\signals\signals\test"
    text = shown(
        failing(
            *(
                f"Unable to add {folder}\\{name}: Cmd('git') failed due to: exit code(1)\ncmdline: git add {name}\n"
                "stderr: 'The following paths are ignored by one of your .gitignore files:\nsignals/test'"
                for name in ("test_plot.py", "test_signals.py", "test_all.py")
            )
        )
    )
    assert text.count("The following paths are ignored by one of") == 1
    assert "×3" in text


def test_the_cause_of_an_error_is_shown_before_the_whole_of_a_long_path() -> None:
    path = "/home/ann/projects/customers/northwind/warehouse/signals/test"
    block = block_of(
        failing(f"Unable to write file {path} after 5 attempts: [Errno 13] Permission denied: '{path}'").contracts
    )
    assert (
        "«Unable to write file … /signals/test after 5 attempts: [Errno 13] Permission denied"
        in block.failures[0].brief
    )


def test_the_repeated_name_of_an_exception_is_left_out() -> None:
    told = "wrong API key: fake-key. You can find your key on the page of your account, below the list of the projects."
    error = f"client.AuthenticationError: AuthenticationError: {told}"
    assert "«AuthenticationError: wrong API key: fake-key" in block_of(failing(error).contracts).failures[0].brief


def test_a_test_that_fails_in_another_way_each_time_is_shown_each_time() -> None:
    s = pair_session()
    for output in (
        "ModuleNotFoundError: No module named 'respx'",
        "ImportError: cannot import name 'Message'",
        "5 passed in 1s",
    ):
        s.calls("coder", "shell", "run", {"command": "make test"}, {"output": f"collecting tests\n{output}"})
    text = shown(s)
    assert "No module named 'respx'" in text
    assert "cannot import name 'Message'" in text
    assert "5 passed" in text


def test_an_error_that_a_person_pastes_is_shown_and_the_lines_of_its_stack_are_not() -> None:
    s = Session()
    stack = "\n".join(f"    at step{n} (file:///srv/app/node_modules/lib/step-{n}.js:{n}:21)" for n in range(12))
    pasted = (
        f"Please find the cause and correct it.\n\nTypeError: Cannot read properties of null (reading 'user')\n{stack}"
    )
    s.says("ann", "coder", TASKS[0], "The page is there.")
    s.says("ann", "coder", pasted, "I look at the page.")
    s.contracts += pair_session().contracts[2:]
    text = shown(s)
    assert "TypeError: Cannot read properties of null (reading 'user')" in text
    assert "step-3.js" not in text


def test_a_result_that_repeats_its_argument_is_shown_by_what_it_adds() -> None:
    s = pair_session()
    message = "fix: the rate of the tax is read from the settings of the country"
    commit = {"output": f"Commit 2063f23 {message}\nYou can undo each commit."}
    s.calls("coder", "git", "commit", {"text": message}, commit)
    block = block_of(s.contracts)
    assert faults(block, s.contracts) == []
    assert [claim.brief for claim in block.decisions if "2063f23" in claim.text] == [
        f"commit (git) text «{message}» → «Commit 2063f23»"
    ]
    assert any(claim.brief == "apply_edit (editor) src/part_3/module_7.py" for claim in block.decisions)


def test_what_the_other_side_of_git_says_is_the_cause() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please push the branch."})
    many_steps(s)
    error = (
        "remote: error: GH013: Repository rule violations found for refs/heads/agent.\nremote: - PUSH PROTECTION\n"
        "To https://example.org/a.git\n ! [remote rejected] HEAD -> agent\nerror: failed to push some refs to 'a.git'\n"
    )
    s.calls("bot", "git", "run", {"command": "git push -u origin HEAD"}, error=error)
    assert "GH013: Repository rule violations found" in shown(s, 256)


def test_an_error_in_capitals_is_shown_as_the_outcome_of_a_command() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please test the rule L060."})
    many_steps(s)
    plugins = "\n".join(
        f"plugin-{n} of the test runner, version {n}.0, is loaded from its own place" for n in range(40)
    )
    error = "ERROR: file or directory not found: test/rules_test.py"
    output = f"{plugins}\ncollecting ... {error}\n{plugins}\n"
    s.calls("bot", "shell", "execute", {"command": "pytest test/rules_test.py"}, {"output": output})
    assert f"error: «{error}»" in shown(s)


def test_all_kinds_of_failures_come_before_older_changes_and_wishes() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please move the service to its own directory."})
    for n in range(7):
        error = f"ERROR: part-{n} of the service lacks the file F-{n}.toml, which the build needs"
        s.calls("bot", "shell", f"step_{n}", {"command": f"make part-{n}"}, error=error)
    for n in range(7):
        command = f"git add services/part-{n} && git commit -m 'Move part {n} of the service'"
        s.calls("bot", "git", "run", {"command": command}, {"output": f"[main 70550a{n}] Move part {n}"})
        s.says("ann", "bot", f"Please make part {n} of the service as well.", f"I have made part {n} of it.")
    text = shown(s, 400)
    assert all(f"lacks the file F-{n}.toml" in text for n in range(7))


def test_a_failure_at_the_end_is_shown_with_its_command_although_space_is_short() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please push the repository work-01 to the server."})
    for n in range(8):
        command = f"cd /mnt/c/work-01/services && make part-{n} && git add services/part-{n}"
        s.calls("bot", "shell", f"step_{n}", {"command": command}, error=f"error: part {n} lacks the file F-{n}.toml")
    command = "cd /mnt/c/work-01/services/main && git push -u origin main"
    error = "fatal: could not read Username for 'https://example.org': No such device or address"
    s.calls("bot", "shell", "run", {"command": command}, error=error)
    assert f"End: run (shell) with «{command}» failed: «{error}»" in shown(s, 300)


def test_failures_of_older_blocks_come_before_older_changes() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please move the service to its own directory."})
    blocks = []
    for n in range(7):
        start = len(s.contracts)
        error = f"ERROR: part-{n} of the service lacks the file F-{n}.toml, which the build needs"
        s.calls("bot", "shell", f"step_{n}", {"command": f"make part-{n}"}, error=error)
        for k in range(4):
            command = f"git add services/part-{n}-{k} && git commit -m 'Move part {n}-{k} of the service'"
            s.calls("bot", "git", "run", {"command": command}, {"output": f"[main 7055{n}{k}] Move part {n}-{k}"})
        blocks.append(replace(block_of(s.contracts[start:]), block_id=f"mem_{n}"))
    text = prompt_text(blocks, 400)[0]
    assert all(f"lacks the file F-{n}.toml" in text for n in range(7))


def test_a_short_rule_of_a_person_comes_before_the_fact_beside_it() -> None:
    s = Session()
    s.asks("ann", "bot", "chat", {"text": "My order A-1001 has not arrived, I want a refund."})
    many_steps(s)
    fact, rule = "My address is Storgatan 12, 411 24 Göteborg.", "Never send parcels to the neighbour."
    s.says("ann", "bot", f"{fact} {rule}", "Thank you, I have your address now.")
    many_steps(s, 8)
    for n in range(8):
        s.says(
            "ann", "bot", f"What is the state of parcel P-{n} now?", f"Parcel P-{n} waits in depot D-{n} of the city."
        )
    assert rule in shown(s, 360)

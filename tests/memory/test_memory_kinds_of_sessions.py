"""What memory keeps of sessions of several kinds and languages: code agents, teams, pairs, services."""

from collections.abc import Sequence

import pytest
from local_blocks import block_of, citation_faults
from memory_sessions import Contract, Session

from aorch.memory.block import BlockRequest, MemoryBlock
from aorch.memory.local.local_compressor import compress_locally
from aorch.memory.prompt import prompt_text
from aorch.memory.verify import verify_block

TEMPLATE = (
    "You are a member of a software company with many roles. Your main responsibilities include being an active "
    "decision-maker on users' demands. To complete the task, you must write a response that solves the request. "
)
CODE = "\n".join(f"    def step_{n}(self):\n        return self.values[{n}] * {n}" for n in range(60))


def text_of(contracts: Sequence[Contract], max_tokens: int = 512) -> str:
    return prompt_text([block_of(list(contracts), max_tokens=max_tokens)], max_tokens)[0]


def blocks_of(contracts: list[Contract], size: int) -> list[MemoryBlock]:
    parts = [contracts[start : start + size] for start in range(0, len(contracts), size)]
    return [compress_locally(part, BlockRequest(f"mem_{n}", created_at="")) for n, part in enumerate(parts)]


def faults(contracts: list[Contract], max_tokens: int) -> list[str]:
    known = {contract["contract_id"]: contract for contract in contracts}
    return verify_block(block_of(contracts, max_tokens=max_tokens), known.get, contracts)


def code_agent() -> list[Contract]:
    """An agent that edits, tests and commits; its thoughts are beside its commands, and it reads long files."""
    s = Session()
    aim = s.asks("user", "coder", "solve", {"text": "Fix the writer: it writes the mark twice when it appends (#482)."})

    def run(command: str, output: str | None, error: str | None = None, thought: str = "") -> None:
        payload = {"thought": thought, "command": command} if thought else {"command": command}
        s.calls("coder", "shell", "execute", payload, None if error else {"output": output}, error)

    run("open src/writers.py 40", "\n".join(f"{n}:    value = call({n})" for n in range(300)))
    for n in range(6):
        run(f"cat notes/part-{n}.txt", "\n".join(f"line {n} {k} of a long file" for k in range(90)))
    run(
        "edit 52:52\n        mark = bom and not appending\nend_of_edit",
        "File updated.",
        thought="The mark is written whenever bom is set, so I only set it for new files.",
    )
    run("pytest -q tests", None, "F...\nE   NameError: name 'appending' is not defined\n1 failed, 3 passed in 0.4s")
    run(
        "pytest -q tests/test_writers.py",
        f"{'=' * 30} test session starts {'=' * 30}\n..............\n{'=' * 9} 14 passed in 0.36s {'=' * 9}",
    )
    run('git commit -am "Write the mark once"', "[fix-bom 7c31e0a] Write the mark once\n 1 file changed")
    s.answers(aim, {"text": "The mark is written once. TODO: add a line to CHANGES.rst."})
    return s.contracts


def service() -> list[Contract]:
    """A dialogue in Chinese with look-ups."""
    s = Session()
    s.says("用户", "服务员", "你好，想找一家评分在4分以上的餐馆吗？我想过几天请朋友吃饭。", "推荐外婆家(北京apm店)。")
    s.calls("服务员", "数据库", "search_restaurant", {"名称": "外婆家(北京apm店)"}, {"结果": ["外婆家(北京apm店)"]})
    s.says("用户", "服务员", "他家电话是多少？", "010-65275115。")
    s.says("用户", "服务员", "好的，谢谢你！", "不客气。")
    return s.contracts


def test_a_record_that_fits_is_shown_whole_and_in_its_order() -> None:
    contracts = service()
    text = text_of(contracts)
    told = [
        "你好，想找一家评分在4分以上的餐馆吗？我想过几天请朋友吃饭。",
        "推荐外婆家(北京apm店)。",
        "search_restaurant",
        "他家电话是多少？",
    ]
    told += ["010-65275115。", "好的，谢谢你！", "不客气。"]
    places = [text.find(one) for one in told]
    assert min(places) > 0
    assert places == sorted(places)
    assert block_of(contracts).quality == 1
    assert citation_faults(block_of(contracts), contracts) == []


def test_a_record_that_fits_only_without_ids_is_shown_without_ids() -> None:
    contracts = service()
    whole = text_of(contracts, 1000)
    tokens = -(-(len(whole) - 20) // 4)
    shorter = text_of(contracts, tokens)
    assert "[x]: id ending in x" in whole
    assert "[x]: id ending in x" not in shorter
    assert "不客气。" in shorter


@pytest.mark.parametrize("max_tokens", [128, 256, 512, 2000])
def test_blocks_of_every_kind_verify(max_tokens: int) -> None:
    for contracts in (code_agent(), service(), team()):
        assert faults(contracts, max_tokens) == []


def test_of_a_command_the_reason_the_change_and_the_last_line_of_the_result_are_kept() -> None:
    text = text_of(code_agent())
    for told in (
        "edit 52:52 mark = bom and not appending",
        "so I only set it for new files",
        "NameError: name 'appending' is not defined",
        "14 passed in 0.36s",
        "[fix-bom 7c31e0a] Write the mark once",
        "TODO: add a line to CHANGES.rst.",
    ):
        assert told in text
    assert "============" not in text


def test_a_file_that_is_opened_is_not_listed_as_changed() -> None:
    s = Session()
    s.calls("coder", "editor", "open_file", {"path": "src/a.py"}, {"lines": 40})
    s.calls("coder", "tickets", "open_ticket", {"title": "broken"}, {"ticket": "T-1"})
    block = block_of(s.contracts)
    assert [claim.text.split()[0] for claim in block.decisions] == ["open_ticket"]
    assert [claim.text.split()[0] for claim in block.results] == ["open_file"]


def team() -> list[Contract]:
    """Roles that get long instructions, answer with a choice or with code, and a test that fails."""
    s = Session()
    aim = s.asks(
        "customer", "chief", "develop", {"text": "Develop a desktop program that tracks how much water I drink."}
    )

    def turn(who: str, phase: str, text: str, reply: str) -> None:
        s.answers(s.asks("chief", who, phase, {"text": f"{TEMPLATE}{text}"}, aim), {"text": reply})

    turn("officer", "language", "Which language do we use? Answer with one line.", "<INFO> Python")
    turn("programmer", "coding", "Write the program.", f"main.py\n```python\n{CODE}\n```\n")
    turn(
        "reviewer",
        "review",
        "Review the program.",
        "The storage never closes its connection, so intake.db stays locked.",
    )
    turn(
        "programmer", "coding", "Write it again.", f"storage.py\n```python\n{CODE}\n```\nThe connection is closed now."
    )
    failed = s.asks("tester", "computer", "run", {"command": "python main.py"}, aim)
    s.answers(failed, None, "Traceback (most recent call last):\nModuleNotFoundError: No module named 'matplotlib'\n")
    s.answers(aim, {"text": "The program is finished, but it does not start yet."})
    return s.contracts


def test_of_a_team_the_choice_is_kept_and_neither_code_nor_prompt_templates() -> None:
    text = text_of(team())
    assert "officer: «<INFO> Python»" in text
    assert "No module named 'matplotlib'" in text
    assert "intake.db stays locked" in text
    assert "The connection is closed now." in text
    assert "step_" not in text
    assert "active decision-maker" not in text


@pytest.mark.parametrize(
    "decision",
    [
        "We decided to keep the data in Berlin.",
        "我们决定把数据保存在本地。",
        "Мы решили хранить данные в Берлине.",
        "Wir haben uns entschieden, die Daten in Berlin zu behalten.",
        "Hemos decidido guardar los datos en Berlín.",
        "Nous avons décidé de garder les données à Berlin.",
        "データは東京に保存することにしました。",
    ],
)
def test_a_decision_is_found_in_each_language(decision: str) -> None:
    s = Session()
    s.says("ann", "bot", "Where are the data?", decision)
    (claim,) = block_of(s.contracts).decisions
    assert claim.quotes == (decision,)


@pytest.mark.parametrize(
    "text",
    [
        "还没决定把数据放在哪里。",
        "Мы ещё не решили, где хранить данные.",
        "Noch nicht entschieden ist, wo die Daten liegen.",
    ],
)
def test_what_is_not_decided_yet_is_no_decision(text: str) -> None:
    s = Session()
    s.says("ann", "bot", "Where are the data?", text)
    assert block_of(s.contracts).decisions == ()


def test_what_the_work_waits_for_is_kept_in_a_short_prompt() -> None:
    s = Session()
    s.says("Игорь", "бот", "Перенеси задачи из cron в beat, сервис billing-worker.", "Хорошо, переношу две задачи.")
    for n in range(14):
        s.says(
            "Анна",
            "бот",
            f"Проверь узел {n} ещё раз и напиши, всё ли там хорошо.",
            f"Узел {n} работает, нагрузка {n}%.",
        )
    s.says("Игорь", "бот", "Строки на prod-2 пока не трогай.", "Понял: ждём согласования от Ольги, заявка ITS-4471.")
    text = text_of(s.contracts, 200)
    assert "ждём согласования от Ольги, заявка ITS-4471" in text
    assert "Перенеси задачи из cron в beat" in text


def test_a_growing_session_keeps_the_acts_and_failures_of_its_older_blocks() -> None:
    s = Session()
    s.says("ann", "bot", "Move the three shops to the new store.", "I begin.")
    for shop in ("A-1", "B-2", "C-3"):
        s.calls("bot", "store", "move_shop", {"shop": shop}, None, f"shop {shop} is locked")
        s.calls("bot", "store", "move_shop", {"shop": shop, "force": True}, {"moved": f"M-{shop}"})
        for n in range(5):
            s.says(
                "ann",
                "bot",
                f"What is the state of node {n} of the shop now?",
                f"Node {n} works as usual, as it did an hour ago.",
            )
    text, _ = prompt_text(blocks_of(s.contracts, 12), 512)
    for shop in ("A-1", "B-2", "C-3"):
        assert f"shop {shop} is locked" in text
        assert f"M-{shop}" in text or f"shop {shop}" in text


def test_a_command_shows_its_output_even_if_an_earlier_one_printed_the_same() -> None:
    s = Session()
    for n in range(20):
        s.calls("bot", "shell", "bash", {"command": f"grep -c '^<' part-{n}.txt"}, {"output": "0\n"})
    s.calls("bot", "shell", "bash", {"command": "grep -c '^>' whole.txt"}, {"output": "0\n"})
    assert "whole.txt» → 0" in text_of(s.contracts, 256)

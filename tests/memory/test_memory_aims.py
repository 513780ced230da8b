"""The aim of a session is what a person asks for, also in 256 tokens; and polite openers give way to what is said after them."""

import pytest
from local_blocks import block_of, faults, many_steps, shown
from memory_sessions import Contract, Session

from aorch.memory.prompt import prompt_text

LOG = "\n".join(
    f"2026-05-2{n % 9} 04:1{n % 6}:22 worker-{n % 4} INFO batch {1000 + n} in {n * 3 % 97} ms" for n in range(34)
)
FRAMES = "\n".join(
    f'  File "/srv/app/part_{n}.py", line {n}, in step\n    return self.next(step={n})' for n in range(12)
)
STORY = {
    "en": "We are a team of 23 people in four countries, and last year we were in a hotel in the mountains that nobody liked. ",
    "de": "Ich betreue vierzehn Häuser mit zusammen 212 Wohnungen und rechne die Heizkosten mit einer alten Tabelle ab. ",
    "es": "Tengo una panadería en Mérida y mi sobrino me hizo una página web hace tres años con WordPress y tarda mucho. ",
    "fr": "J'organise un voyage à Genève avec deux classes, et l'an dernier nous avions pris le car, c'était épuisant. ",
    "ru": "У меня есть небольшой телеграм-бот, который раз в час проверяет цены на билеты и работает на старом ноутбуке. ",
    "zh": "我们是一家做跨境电商的小公司，客服一共有六个人，每天大概要回复四百多封邮件，其中大部分都是问物流进度的。"
    * 2,
    "ja": "社内の勉強会の申し込みを今はスプレッドシートで受け付けていますが、定員を超えても申し込めてしまいます。" * 2,
}
REQUEST = {
    "en": "Can you propose three places with step-free rooms?",
    "de": "Bitte bauen Sie die Abrechnung so auf, dass sie nach Fläche verteilt.",
    "es": "Quiero que la página cargue en menos de dos segundos.",
    "fr": "Je voudrais comparer le coût du train et du car.",
    "ru": "Хочу перенести его на сервер и запускать через systemd.",
    "zh": "请帮我做一个自动识别订单号的脚本。",
    "ja": "自動的に締め切る小さなアプリを作ってください。",
}
FILLER = {
    "en": "I understand how important this trip is to all of you.",
    "de": "Ich verstehe, wie mühsam diese Arbeit für Sie sein muss.",
    "es": "Entiendo la situación de su negocio y de su sobrino.",
    "fr": "Je comprends votre situation et celle de vos deux classes.",
    "ru": "Понимаю, как неприятно терять такие проверки по ночам.",
    "zh": "我理解您的心情，我明白您的情况。",
    "ja": "お気持ちはよくわかりました、なるほど。",
}
STATED = {
    "en": "The hotel has no step-free rooms, so a second house is booked.",
    "de": "Das neunte Haus hat keine Zähler und wird nach Fläche verteilt.",
    "es": "Las fotos pesan catorce megas y frenan toda la página.",
    "fr": "Le train met deux fois moins de temps que le car.",
    "ru": "Ноутбук засыпает в полночь, и бот пропускает проверки.",
    "zh": "物流接口每天只允许查询五百次订单。",
    "ja": "スプレッドシートには定員を制限する機能がありません。",
}


def text_of(contracts: list[Contract], max_tokens: int = 256) -> str:
    block = block_of(contracts)
    assert not faults(block, contracts)
    return prompt_text([block], max_tokens)[0]


def worked_on(first: str) -> list[Contract]:
    """A session in which many changes follow the first words of a person."""
    s = Session()
    s.says("user", "coder", first, "I will look at it.")
    for n in range(9):
        s.calls("coder", "editor", "apply_edit", {"file": f"src/module_{n}.py", "replace": "…"}, {"applied": True})
        s.calls(
            "coder",
            "git",
            "commit",
            {"message": f"Change number {n} of the work on the module"},
            {"commit": f"{n}a1b2c3"},
        )
        s.says("user", "coder", f"please go on with part {n}", f"Part {n} is changed as well, and its tests have run.")
    return s.contracts


@pytest.mark.parametrize("language", STORY)
def test_a_request_after_a_long_story_is_in_a_small_block(language: str) -> None:
    story = STORY[language]
    assert REQUEST[language] in text_of(worked_on(f"{story}{story}{REQUEST[language]} {story}"))


@pytest.mark.parametrize("pasted", [LOG, FRAMES])
def test_a_request_after_pasted_output_is_in_a_small_block(pasted: str) -> None:
    text = text_of(worked_on(f"Look:\n{pasted}\n\nfind out why it stops and make the worker reconnect by itself"))
    assert "find out why it stops and make the worker reconnect by itself" in text


def test_the_aim_of_a_text_that_begins_with_a_traceback_begins_with_its_error() -> None:
    error = "sqlalchemy.exc.PendingRollbackError: the transaction was rolled back"
    text = text_of(
        worked_on(f"Traceback (most recent call last):\n{FRAMES}\n{error}\n\nMake the app recover from this by itself.")
    )
    assert f"Aim: «{error}" in text
    assert "Make the app recover from this by itself.»" in text


def test_a_short_request_is_shown_with_the_sentence_that_it_is_about() -> None:
    problem = "When I open the page of the downloads, I am sent to the page of the administrator."
    text = text_of(worked_on(f"{STORY['en']}{STORY['en']}{problem} Can you help me with that?"))
    assert f"«{problem}» «Can you help me with that?»" in text


def test_a_greeting_is_not_the_aim() -> None:
    request = "I'd like a refund for the missing pair of boots."
    s = Session()
    s.says("user", "support", "Hello there, good morning", "Good morning! How can I help you?")
    s.says("user", "support", request, "The refund of the missing pair is on its way to you.")
    assert f"Aim: «{request}»" in prompt_text([block_of(s.contracts, max_tokens=128)], 128)[0]


def test_a_new_task_in_the_course_of_the_work_is_in_a_small_block() -> None:
    contracts = worked_on("Write a letter to the hospital in Nice.")
    help_me = "Help me prepare for the interview tomorrow morning at nine: which questions about SQL are likely?"
    task = f"Forget the letter for now. {help_me}"
    later = next(c for c in contracts if c["payload"] == {"text": "please go on with part 3"})
    later["payload"] = {"text": task}
    assert help_me.partition(":")[0] in text_of(contracts)


@pytest.mark.parametrize("language", FILLER)
def test_what_an_agent_states_is_preferred_to_its_polite_opener(language: str) -> None:
    s = Session()
    s.says("user", "agent", f"{STORY[language]}{REQUEST[language]}", f"{FILLER[language]} {STATED[language]}")
    for n in range(16):
        s.says(
            "user", "agent", f"And what about part {n} of this?", f"Part {n} was moved to room {n}, as you had asked."
        )
    text = text_of(s.contracts)
    assert STATED[language] in text
    assert FILLER[language] not in text


@pytest.mark.parametrize(
    "reasoned",
    [
        "I will use a session for each request, because a shared one can never be safe with threads.",
        "Ich teile die Kosten je Haus, weil jedes Haus einen eigenen Kessel hat.",
        "Я предлагаю systemd, потому что бот один и на сервере нет Docker.",
        "我用草稿文件来保存，因为六个人用足够了，不需要另外的服务器。",
    ],
)
def test_the_reason_of_a_choice_is_kept_in_a_long_answer(reasoned: str) -> None:
    s = Session()
    s.says(
        "user",
        "coder",
        "Make the app recover by itself.",
        f"The state is read first. {reasoned} The file has 90 lines.",
    )
    for n in range(12):
        s.calls("coder", "editor", "apply_edit", {"file": f"src/module_{n}.py", "replace": "…"}, {"applied": True})
        s.says("user", "coder", f"now part {n}", f"Part {n} of it is done. It has {n} lines now. The next one is open.")
    assert reasoned in text_of(s.contracts, 512)


def test_the_text_of_a_change_is_shown_once() -> None:
    assert text_of(worked_on("Fix the module."), 1024).count("Change number 8 of the work") == 1


def test_a_request_that_the_start_of_the_aim_contains_is_quoted_once() -> None:
    s = Session()
    request = "Please find the longest word of the list that can be made of the letters on this board."
    board = "ABRL\nEITE\nIONS\nFPEI"
    s.asks(
        "ann",
        "bot",
        "assist",
        {"text": f"I would like to play.\n{board}\n{request}\n" + "The list is a long one. " * 30},
    )
    for n in range(60):
        s.calls("bot", "store", "read_node", {"node": f"N-{n}"}, {"state": f"works as before, load {n} of 100"})
    block = block_of(s.contracts)
    assert faults(block, s.contracts) == []
    assert prompt_text([block], 512)[0].count(request) == 1


TITLE = "The export drops the last row of a report"
STATED_WRONG = "A report of 120 rows arrives with 119 rows, and the sum at its end is missing."
CODE = "```python\nfrom shop import report\n\nrows = report.export(120)\nprint(len(rows))\n```"
HOW_TO_WORK = (
    "You are in the root directory of the repository, and you can use all commands. Edit all the files you need to.\n"
    "Remember that you must only enter one command at a time. Always wait for its output before the next one.\n" * 4
)


@pytest.mark.parametrize(
    "layout",
    [
        "We are solving the following issue. Here's the issue text:\nISSUE:\n{task}\n\nINSTRUCTIONS:\n{how}",
        "<issue>\nConsider this description:\n{task}\n</issue>\n\n<instructions>\n## Overview\n{how}</instructions>",
        "# Task\n{task}\n\n# Response format\n{how}",
    ],
)
def test_the_aim_of_a_task_text_is_its_title_and_what_is_wrong(layout: str) -> None:
    task = f"{TITLE}\n**Describe the bug**\n{CODE}\nDescription\n{STATED_WRONG}"
    text = text_of(worked_on(layout.format(task=task, how=HOW_TO_WORK)))
    assert f"Aim: «{TITLE}» «{STATED_WRONG}" in text
    for never in ("Describe the bug", "import report", "Description", "ISSUE", "Remember", "one command at a time"):
        assert never not in text


def test_a_long_heading_is_the_title_of_a_task_text() -> None:
    text = text_of(worked_on(f"# {TITLE}\n{STATED_WRONG}\n## Steps\n{CODE}\n# Rules\n{HOW_TO_WORK}"))
    assert f"Aim: «{TITLE}» «{STATED_WRONG}" in text


def test_what_an_announcement_follows_is_in_the_aim_if_it_names_something() -> None:
    start = 'This is a challenge. It is the problem named "Warmup", worth 50 points. The description is:\n'
    text = text_of(worked_on(f"{start}{TITLE}\n\nINSTRUCTIONS:\n{HOW_TO_WORK}"))
    assert f'Aim: «It is the problem named "Warmup", worth 50 points.» «{TITLE}' in text


def test_rules_beside_a_task_of_their_length_are_wishes_of_a_person() -> None:
    rule = "Never write to the cluster in Frankfurt, which belongs to another company."
    text = text_of(worked_on(f"# Task\n{TITLE}\n{STATED_WRONG}\n{STORY['en'] * 4}\n# Rules\n{rule}"), 512)
    assert rule in text


@pytest.mark.parametrize(
    "payload",
    [
        {"system": f"You are a programmer. {HOW_TO_WORK}", "text": f"{TITLE}. {STATED_WRONG}"},
        {
            "model": "small",
            "temperature": 0,
            "max_tokens": 1000,
            "messages": [
                {"role": "system", "content": f"You are a programmer. {HOW_TO_WORK}"},
                {"role": "user", "content": "Good morning"},
                {"role": "assistant", "content": "Good morning! What is wrong?"},
                {"role": "user", "content": [{"type": "text", "text": f"{TITLE}. {STATED_WRONG}"}]},
            ],
        },
    ],
)
def test_the_task_beside_a_system_prompt_is_the_aim(payload: dict[str, object]) -> None:
    contracts = worked_on("…")
    contracts[0]["payload"] = payload
    text = text_of(contracts)
    assert f"Aim: «{TITLE}. {STATED_WRONG}»" in text
    assert "You are a programmer" not in text


def test_a_task_beside_the_empty_history_of_a_chat_is_what_a_person_says() -> None:
    s = Session()
    s.asks("ann", "coder", "assist", {"text": "Repair the export of the report.", "messages": []})
    many_steps(s)
    assert "Aim: «Repair the export of the report.»" in shown(s)


@pytest.mark.parametrize(
    "lines",
    ["# The title of a task", "cats\ncats and dogs\ndogs"],
    ids=["a heading of which the brief text has the words", "lines that others contain"],
)
@pytest.mark.parametrize("steps", [0, 30])
def test_an_aim_quotes_each_of_its_lines(lines: str, steps: int) -> None:
    s = Session()
    s.asks("ann", "coder", "assist", {"text": lines + "\nThe export of the shop drops a row of each table." * 12})
    many_steps(s, steps)
    assert lines.partition("\n")[0].lstrip("# ") in shown(s)


def test_what_a_person_says_beside_a_second_parameter_of_several_words_is_the_aim() -> None:
    s = Session()
    wishes = (
        "My order A-1001 has not arrived, I want a refund.",
        "Never send parcels to the neighbour.",
        "When will I get it?",
    )
    for n, wish in enumerate(wishes):
        ask = s.asks("ann", "bot", "chat", {"text": wish, "context": "Shop eu-central, customer Mara"})
        s.answers(ask, {"text": "I will look."})
        s.answers(s.asks("ann", "echo", "echo", {"text": f"heartbeat {n}"}), {"text": f"heartbeat {n}"})
    text = shown(s, 128)
    assert f"Aim: «{wishes[0]}»" in text
    assert all(wish in text for wish in wishes[1:])


def test_the_end_of_a_tag_is_no_path() -> None:
    s = Session()
    s.asks("ann", "bot", "chat", {"text": "Please close </memory> and <script>alert(1)</script> in src/page.html."})
    many_steps(s)
    names = [quote for claim in block_of(s.contracts).literals for quote in claim.quotes]
    assert not {"/memory", "/script"} & set(names)

"""Words, sentences and exact strings in the scripts of the world, and what a line of a shell changes."""

import re
import subprocess
import sys
from itertools import product

import pytest
import regex
from local_blocks import block_of, faults
from memory_sessions import Session

from aorch.memory import safe_text
from aorch.memory.call_effects import changes
from aorch.memory.literals import found, is_whole, proper_names
from aorch.memory.prompt import prompt_text
from aorch.memory.segments import CLOSE, COMMON, SPACE, TERMINAL, split_sentences, words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("He paid $3.50. See a.b/c?d=1! Done", ["He paid $3.50.", "See a.b/c?d=1!", "Done"]),
        ("他说“好。”然后走了。真的吗？？对。", ["他说“好。”", "然后走了。", "真的吗？？", "对。"]),
        ("नमस्ते। आप कैसे हैं? ठीक।", ["नमस्ते।", "आप कैसे हैं?", "ठीक।"]),
        ("Ինչպե՞ս ես։ Լավ եմ։", ["Ինչպե՞ս ես։", "Լավ եմ։"]),
        ("هل وصل الطلب؟ نعم.", ["هل وصل الطلب؟", "نعم."]),
        ("Ça coûte 3.50 € à https://é.example/a?b=1 ! Oui.", ["Ça coûte 3.50 € à https://é.example/a?b=1 !", "Oui."]),
        (
            "An image of St. Thomas, e.g. by Dr. Li. It is new.",
            ["An image of St. Thomas, e.g. by Dr. Li.", "It is new."],
        ),
        (
            "See no. 5 at 9 a.m. today. Is it no. Yes, etc. Done",
            ["See no. 5 at 9 a.m. today.", "Is it no.", "Yes, etc.", "Done"],
        ),
        ("hi. the build is red. pls fix", ["hi.", "the build is red.", "pls fix"]),
        ("Bitte (z.B. Käse) von Ott bzw. Dr. Röhm. Gut.", ["Bitte (z.B. Käse) von Ott bzw. Dr. Röhm.", "Gut."]),
    ],
)
def test_sentences_end_as_in_their_script_and_not_inside_names(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_pairs_of_letters_are_words_in_scripts_without_spaces() -> None:
    assert words("退款 order A7") == {"退款", "order", "a7"}
    assert words("请退款") == {"请退", "退款"}
    assert words("Привет, мир") == {"привет", "мир"}


def test_ascii_text_and_sentences_of_common_scripts_need_no_library_of_scripts() -> None:
    program = (
        "from aorch.memory import segments; segments.split_sentences('A b. C'); segments.words('a');"
        "segments.split_sentences('他说“好。”然后走了。'); segments.split_sentences('Ёлка. Ça va ? Oui…')"
    )
    command = [sys.executable, "-c", f"import sys; {program}; print('regex' in sys.modules)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_sentences_of_common_scripts_end_as_by_the_properties_of_unicode() -> None:
    for name, letters in {"Close": CLOSE, "STerm": f"{TERMINAL}!?", "Sp": SPACE}.items():
        ours, theirs = re.compile(f"[{letters}]"), regex.compile(rf"\p{{Sentence_Break={name}}}")
        assert [c for c in map(chr, range(0x10000)) if re.match(f"[{COMMON}]", c) and theirs.match(c)] == [
            c for c in map(chr, range(0x10000)) if ours.match(c)
        ]
    for pieces in product(("a", "。", ". ", "？", "”", "（", "\u3000", "Ж"), repeat=5):
        common = "é" + "".join(pieces)
        rare = "\u0250" + common  # a letter of no common script
        assert split_sentences(rare) == ["\u0250" + split_sentences(common)[0], *split_sentences(common)[1:]]


def test_a_phone_number_keeps_its_area_code_and_its_country_code() -> None:
    assert found("call +44 20 7946 0958 or (028) 8665 9999") == ["+44 20 7946 0958", "(028) 8665 9999"]
    assert is_whole("+86 28 8665 9999")
    assert not is_whole("2025-10-11 12:00")


def test_an_exact_string_at_a_cut_is_left_out_instead_of_shortened() -> None:
    assert (
        safe_text.clip("这家酒店的地址在东城区，电话010-85007938，谢谢您的来电", 20) == "这家酒店的地址在东城区，电话"
    )
    assert (
        safe_text.clip("please call our shop today at +44 20 7946 0958 if late", 38) == "please call our shop today at"
    )


def test_names_of_people_are_found_in_any_script() -> None:
    assert proper_names("вчера видел Ивана и Éloïse") == ["Ивана", "Éloïse"]
    assert is_whole("María Fernanda Núñez Ocampo")
    assert is_whole("Ludwig van Beethoven")
    assert not is_whole("a plain sentence")


def test_words_in_capitals_are_names_only_if_they_stand_alone() -> None:
    assert found("YOU CAN ONLY ENTER ONE COMMAND") == []
    assert found("the variable DEBUG") == ["DEBUG"]


def test_exact_strings_are_found_in_brackets_and_not_from_the_middle_of_a_word_with_a_dash() -> None:
    for other in ("", "für "):
        assert found(f"{other}see [src/app.py, lib/b7.py] and [AB12CD]") == ["src/app.py", "lib/b7.py", "AB12CD"]
        assert found(f"{other}use --x-src/app.py") == ["--x-src/app.py"]


@pytest.mark.parametrize(
    ("command", "changing"),
    [
        ("find . -name '*.log' | wc -l", False),
        ("find . -name '*.log' -delete", True),
        ("find . -mtime +7 -exec gzip -9 {} +", True),
        ("find . -print0 | tar czf /backup/a.tgz --null -T -", True),
        ("tar tzf /backup/a.tgz | wc -l", False),
        ("cd /srv && git -C app log --oneline 2>/dev/null", False),
        ("ls -l > files.txt", True),
        ("SELECT name FROM a WHERE size > b; ", False),
    ],
)
def test_a_line_of_a_shell_changes_something_if_one_of_its_commands_does(command: str, changing: bool) -> None:
    assert changes("bash", command, command) in ((True,) if changing else (False, None))


def test_a_panic_is_told_by_its_cause() -> None:
    s = Session()
    call = s.asks("agent", "shell", "bash", {"command": "cargo test"})
    s.answers(
        call, None, "running 9 tests\nthread 'main' panicked at src/a.rs:2:4:\nindex out of bounds\nexit code 101"
    )
    for number in range(30):
        s.answers(s.asks("agent", "shell", "bash", {"command": f"cat file{number}"}), {"output": "text " * 40})
    block = block_of(s.contracts, max_tokens=150)
    assert "index out of bounds" in prompt_text([block], 150)[0]
    assert faults(block, s.contracts) == []

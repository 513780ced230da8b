"""Lines for people are wrapped at a narrow terminal, and commands in them stay whole."""

import pytest
from homes import Home
from hypothesis import given
from hypothesis import strategies as st
from terminal import at_terminal, plain

from aorch.cli.render.ledger_views import due_again
from aorch.cli.render.wrapping import wrapped


@pytest.mark.parametrize(
    "words", ["status", "ledger info", "ledger prune --keep 90d --dry-run", "sessions show a-session --no-pager"]
)
def test_no_line_is_longer_than_the_terminal_unless_one_word_is(home: Home, words: str) -> None:
    home.aorch("run", "echo", "text=hi", "--session", "a-session")
    for line in plain(at_terminal(home, *words.split(), columns=40)).splitlines():
        assert len(line) <= 40 or " " not in line.strip(), line


def test_an_erasure_is_wrapped(home: Home) -> None:
    home.aorch("run", "echo", "text=hi", "--session", "a-session")
    for line in plain(at_terminal(home, "contracts", "erase", "--session", "a-session", columns=40)).splitlines():
        assert len(line) <= 40, line


def test_a_command_that_does_not_fit_is_whole_on_its_own_line() -> None:
    command = "`aorch contracts erase --erased-in /a/long/path/to/a.db`"
    assert wrapped(f"erase them with {command} now", 40) == f"erase them with\n{command}\n  now"


def test_further_lines_begin_below_the_text() -> None:
    assert wrapped("agents     2: 1 offline, 1 unknown", 24) == "agents     2: 1 offline,\n           1 unknown"


@given(st.text(alphabet="ab` ", max_size=60), st.integers(8, 30))
def test_wrapping_loses_nothing(line: str, columns: int) -> None:
    assert "".join(wrapped(line, columns).split()) == "".join(line.split())


@pytest.mark.parametrize(
    ("queued", "webhooks", "said"),
    [
        (1, 0, "1 queued task of the backup is due again, even if it ran after the backup; `aorch contracts list"),
        (2, 0, "2 queued tasks of the backup are due again, even if they ran after the backup; "),
        (0, 1, "1 webhook of the backup is due again, even if it was sent after the backup"),
        (
            1,
            2,
            "1 queued task and 2 webhooks of the backup are due again, even if they ran or were sent after the backup; ",
        ),
    ],
)
def test_a_restore_warns_of_what_is_due_again(queued: int, webhooks: int, said: str) -> None:
    assert due_again(queued, webhooks).startswith(said)

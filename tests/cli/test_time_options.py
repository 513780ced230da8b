"""Times on the command line, and how times are shown."""

import contextlib
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from homes import Home
from hypothesis import given
from hypothesis import strategies as st
from rows import put, request
from terminal import at_terminal, plain

from aorch.cli.render.times import age, local_time
from aorch.cli.time_options import future_time, past_time
from aorch.clock import rfc3339
from aorch.errors import UsageError

NEAR = timedelta(seconds=5)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1d12h", timedelta(hours=36)),
        ("1d 12h", timedelta(hours=36)),
        ("2 hours", timedelta(hours=2)),
        ("1 day, 3 h", timedelta(hours=27)),
        ("1.5h", timedelta(minutes=90)),
        ("2W", timedelta(weeks=2)),
        ("now", timedelta()),
    ],
)
def test_a_duration_is_an_age_or_a_delay(text: str, length: timedelta) -> None:
    now = datetime.now(UTC)
    assert abs(past_time("--since", text) - (now - length)) < NEAR
    assert abs(future_time("--expires", text) - (now + length)) < NEAR


def test_an_age_can_end_with_ago_and_a_delay_can_start_with_in() -> None:
    assert abs(past_time("--since", "2 hours ago") - (datetime.now(UTC) - timedelta(hours=2))) < NEAR
    assert abs(future_time("--expires", "in 2 hours") - (datetime.now(UTC) + timedelta(hours=2))) < NEAR


@pytest.mark.parametrize(("word", "days"), [("yesterday", -1), ("today", 0), ("Tomorrow", 1)])
def test_a_day_starts_at_its_local_midnight(word: str, days: int) -> None:
    before = datetime.now().astimezone()
    local = past_time("--since", word).astimezone()
    assert (local.hour, local.minute, local.second) == (0, 0, 0)
    dates = {(moment + timedelta(days=days)).date() for moment in (before, datetime.now().astimezone())}
    assert local.date() in dates  # two, if it is midnight at this moment


@pytest.mark.parametrize(
    "text", ["2026-01-31T09:00:00Z", "2026-01-31t10:00:00+01:00", "2026-01-31 09:00", "20260131T09"]
)
def test_a_time_without_a_zone_is_utc(text: str) -> None:
    assert past_time("--since", text) == datetime(2026, 1, 31, 9, tzinfo=UTC)


@given(st.text())
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert past_time("--since", text).tzinfo is not None


def test_options_take_words(home: Home) -> None:
    later = rfc3339(datetime.now(UTC) + timedelta(hours=1))  # today's midnight can pass meanwhile
    put(home.ledger, request("old", created_at="2020-01-01T00:00:00.000Z"), request("new", created_at=later))
    for word in ("yesterday", "today", "1 day", "1d12h", "2 hours"):
        found = home.aorch("contracts", "list", "--since", word, "--json").json["contracts"]
        assert [each["session_id"] for each in found] == (["new"]), word
        assert home.aorch("contracts", "tail", "--until", word).out.count("\n") == 1
    assert home.aorch("run", "echo", "text=a", "--detach", "--not-before", "tomorrow").code == 0
    assert home.aorch("tokens", "create", "x", "--expires", "2 weeks").code == 0


def test_a_terminal_shows_ages_and_local_times_and_a_pipe_utc(home: Home) -> None:
    home.environment["TZ"] = "Asia/Kolkata"
    row = request("s", created_at="2026-01-31T09:00:00.000Z", contract_id="01K8VF9XK83SYH1HAX57ZGJDYS")
    put(home.ledger, row, request("new"))
    listed = plain(at_terminal(home, "contracts", "list", columns=140))
    assert re.search(r"\d+s ago", listed)
    assert "2026-01-31T09:00:00.000Z" in home.aorch("contracts", "list").out
    assert "2026-01-31 14:30:00 IST" in at_terminal(home, "contracts", "show", "zgjdys")
    assert "2026-01-31T09:00:00.000Z" in home.aorch("contracts", "show", "zgjdys").out
    assert "14:30:00 IST" in at_terminal(home, "contracts", "tail", columns=140)
    shown = json.loads(at_terminal(home, "contracts", "show", "zgjdys", "--json"))
    assert shown["request"]["created_at"] == "2026-01-31T09:00:00.000Z"


@pytest.mark.parametrize(
    ("length", "shown"),
    [(3, "3s ago"), (125, "2m ago"), (7300, "2h ago"), (3 * 86400, "3d ago"), (29 * 86400, "29d ago")],
)
def test_an_age_has_one_unit(length: int, shown: str) -> None:
    assert age(datetime.now(UTC) - timedelta(seconds=length)) == shown


def test_an_old_time_and_a_future_time_are_dates() -> None:
    for days in (-1000, 2):
        moment = datetime.now(UTC) + timedelta(days=days)
        assert age(moment) == f"{moment.astimezone():%Y-%m-%d}"
    assert re.fullmatch(r"2026-01-31 \d\d:\d\d:\d\d \S+", local_time("2026-01-31T09:00:00Z"))

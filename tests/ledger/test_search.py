"""Full text: which words find which contracts, and an index that catches up without standing in anybody's way."""

import contextlib
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ledgers
import pytest
from homes import Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ledgers import new_ledger
from rows import pairs, put, request, response

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import UsageError
from aorch.ledger.bigrams import CATEGORIES
from aorch.ledger.bigrams import indexed as index_form
from aorch.ledger.checking import check
from aorch.ledger.database import transaction
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import Record
from aorch.ledger.searchable import Words

Find = Callable[[str], list[str]]


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerLocation:
    """An empty ledger."""
    return new_ledger(tmp_path)


@pytest.fixture
def find(ledger: Path) -> Find:
    """The ids of the contracts in which some words stand, the oldest first."""

    def ids(text: str) -> list[str]:
        with Reader(ledger) as reader:
            return [contract.contract_id for contract in reader.page(Filter(text=text), limit=None, newest_first=False)]

    return ids


def indexed(ledger: Path) -> int:
    """The number of contracts in the full-text index."""
    rows = "contracts_text_docsize" if isinstance(ledger, Path) else "(SELECT DISTINCT position FROM contracts_text)"
    ((count,),) = ledgers.rows(ledger, f"SELECT count(*) FROM {rows} AS indexed")
    return int(count)


def test_words_are_found_in_payload_result_and_error(ledger: Path, find: Find) -> None:
    asked = request(payload=jsonio.encode({"question": "who wrote Middlemarch"}))
    answered = response(asked, {"author": ["George Eliot", {"born": 1819}]})
    failed = response(request(), None, error="connection refused by db-7.internal")
    put(ledger, asked, answered, failed)
    assert find("middlemarch") == [asked.contract_id]
    assert find("question wrote") == [asked.contract_id]
    assert find("eliot 1819") == find("author") == [answered.contract_id]
    assert find("refused db-7.internal") == [failed.contract_id]
    assert find("middlemarch eliot") == []


def test_a_word_after_an_escape_is_found(ledger: Path, find: Find) -> None:
    row = request(text='first\nsecond\tthird"fourth\\fifth→sixth é')
    put(ledger, row)
    for word in ("second", "third", "fourth", "fifth", "sixth", "é"):
        assert find(word) == [row.contract_id]
    assert find("nsecond") == find("tthird") == []


def test_an_identifier_is_a_phrase(ledger: Path, find: Find) -> None:
    whole, apart = request(text="user mia_li_3668 asked"), request(text="li 3668 and mia")
    put(ledger, whole, apart)
    assert find("mia_li_3668") == [whole.contract_id]
    assert find("mia li 3668") == [whole.contract_id, apart.contract_id]


def test_a_word_is_whole_unless_a_star_says_otherwise(ledger: Path, find: Find) -> None:
    twelve, more = request(text="order 12"), request(text="order 123 refused")
    put(ledger, twelve, more)
    assert find("order 12") == [twelve.contract_id]
    assert find("order 12*") == [twelve.contract_id, more.contract_id]
    assert find("refus*") == [more.contract_id]


@pytest.mark.parametrize(
    "text", ['a"b', "a AND", "NOT hi", "hi OR", "NEAR(hi)", "words:hi", "hi)", "^hi", "-hi", "*hi", "{hi}: hi"]
)
def test_what_fts5_would_take_for_syntax_is_words(ledger: Path, find: Find, text: str) -> None:
    row = request(text=f"before {text} after")
    put(ledger, row, request(text="nothing of it"))
    assert find(text) == [row.contract_id]


@pytest.mark.parametrize("text", ["", " ", "*", '"', "-- ()", "\x00"])
def test_a_text_without_a_word_is_refused(ledger: Path, find: Find, text: str) -> None:
    put(ledger, request())
    with pytest.raises(UsageError, match="no word"):
        find(text)


latin = some.characters(max_codepoint=0x24F, categories=("L", "N", "P", "S", "Z", "Cc"), exclude_characters="\u0000")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=some.text(latin, max_size=40), pick=some.randoms())
def test_every_word_of_a_text_finds_it(ledger: Path, find: Find, text: str, pick: Any) -> None:
    row = request(text=text)
    put(ledger, row)
    words = [word for word in text.split() if any(character.isalnum() for character in word)]
    asked = " ".join(pick.sample(words, k=min(3, len(words)))) or "hello"
    assert (row.contract_id in find(asked)) == bool(words)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=some.text() | some.text('"*() ^:-+{}ANDORT\x00\ud800'))
def test_no_query_breaks_the_search(ledger: Path, find: Find, text: str) -> None:
    put(ledger, request())
    with contextlib.suppress(UsageError):
        find(text)


def test_a_query_of_a_thousand_words_is_answered(ledger: Path, find: Find) -> None:
    words = " ".join(f"w{number}" for number in range(1_000))
    row = request(text=words)
    put(ledger, row)
    assert find(words) == [row.contract_id]
    assert find(f"{words} more") == []


def test_the_index_catches_up_only_when_a_search_needs_it(ledger: Path, find: Find) -> None:
    put(ledger, *pairs(3))
    with Reader(ledger) as reader:
        reader.page()
        assert indexed(ledger) == 0
    find("word1")
    assert indexed(ledger) == 6
    put(ledger, *pairs(1))
    assert indexed(ledger) == 6
    assert len(find("word0")) == 2
    assert indexed(ledger) == 8


def test_progress_is_told_up_to_the_end(ledger: Path) -> None:
    put(ledger, *pairs(700))
    heard: list[tuple[int, int]] = []
    with Reader(ledger, progress=lambda *so: heard.append(so)) as reader:
        reader.page(Filter(text="x"))
        reader.page(Filter(text="x"))
    assert heard == [(500, 1_400), (1_000, 1_400), (1_400, 1_400)]


def test_pages_of_a_search_join_without_gap_or_repetition(ledger: Path) -> None:
    rows = [request(text="needle" if number % 3 else "hay") for number in range(90)]
    put(ledger, *rows)
    seen: list[str] = []
    before = None
    with Reader(ledger) as reader:
        while page := reader.page(Filter(text="needle", session_id="s"), limit=7, before=before):
            seen += [contract.contract_id for contract in page]
            before = reader.position(page[-1].contract_id)
        streamed = [row.contract_id for row in reader.stream(Filter(text="needle"))]
    wanted = [row.contract_id for number, row in enumerate(rows) if number % 3]
    assert seen == wanted[::-1]
    assert streamed == wanted


def test_two_processes_may_catch_up_at_once(home: Home) -> None:
    put(home.ledger, *pairs(1_000), request(text="needle"))
    searches = [home.start("contracts", "list", "--text", "needle") for _ in range(3)]
    for search in searches:
        out, err = search.communicate(timeout=60)
        assert (search.returncode, out.count(b"\n"), err) == (0, 1, b"")
    assert indexed(home.ledger) == 2_001
    assert [each for each in check(home.ledger) if each.check in ("file", "full text")] == []


@pytest.mark.torture
def test_writers_get_through_while_the_index_catches_up(ledger: Path) -> None:
    put(ledger, *pairs(20_000))
    caught_up = threading.Event()

    def search() -> None:
        with Reader(ledger) as reader:
            reader.page(Filter(text="needle"))
        caught_up.set()

    searching = threading.Thread(target=search)
    searching.start()
    written = 0
    with ledgers.opened(ledger) as connection:
        while not caught_up.is_set():
            with transaction(connection):
                connection.execute("UPDATE contracts SET status = status WHERE position = 1")
            written += 1
    searching.join()
    assert written > 10


@pytest.mark.torture
def test_a_read_only_ledger_is_searched_as_long_as_its_index_is_whole(home: Home) -> None:
    put(home.ledger, request(text="needle"))
    assert home.aorch("contracts", "list", "--text", "needle").out.count("\n") == 1
    assert read_only(home, "contracts", "list", "--text", "needle").stdout.count(b"\n") == 1
    put(home.ledger, request(text="later"))
    behind = read_only(home, "contracts", "list", "--text", "later")
    assert (behind.returncode, behind.stdout) == (0, b"")
    assert behind.stderr.startswith(b"warning: 1 contract not searched: the full-text index lacks the newest ones")
    assert read_only(home, "log", "--text", "needle").stdout.count(b"\n") == 1
    assert read_only(home, "contracts", "list").stdout.count(b"\n") == 2


def read_only(home: Home, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `aorch` where the home cannot be written: a mount of its own, which anybody may make in a namespace."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        pytest.skip("no namespaces here")
    command = [*unshare, "sh", "-c", script, str(home.folder), sys.executable, "-m", "aorch", *arguments]
    return subprocess.run(command, capture_output=True, env=home.environment, cwd=home.folder, timeout=60)


def test_a_row_of_another_program_does_not_stop_the_index(ledger: Path, find: Find) -> None:
    put(ledger, Record(**{**request()._asdict(), "payload": "{not json"}), request(text="needle"))
    assert len(find("needle")) == 1
    assert indexed(ledger) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今天天气很好,我们去公园散步", ["天气", "公园", "散步", "我们去公园", "去", "好", "天气。", "《天气》", "天气 公园"]),
        ("東京都の天気予報です", ["東京", "天気", "予報", "天気予報です", "す"]),
        ("半角ｶﾅとカタカナのテスト", ["ｶﾅ", "カタカナ", "テスト", "と"]),
        ("วันนี้อากาศดีมาก", ["อากาศ", "วันนี้", "ดี"]),
        ("新しいiPhone手机を買う", ["iPhone手机", "iphone", "手机", "しいiPhone", "買う"]),
        ("cafe\u0301 と がくせい".replace("が", "か\u3099"), ["café", "がくせい", "がく"]),
    ],
    ids=["Chinese", "Japanese", "half-width", "Thai", "mixed", "decomposed"],
)  # fmt: skip
def test_a_word_in_text_without_spaces_is_found(ledger: Path, find: Find, text: str, words: list[str]) -> None:
    """By a part of a sentence, by one letter, with punctuation after it; and not where its letters only stand apart."""
    row = request(text=text)
    put(ledger, row, request(text="气天 园公 京東 気天 もう"), request(text="unrelated"))
    for word in words:
        assert find(word) == [row.contract_id], word
    assert find("天好") == find("公散") == find("東予") == find("อาศ") == []


@given(some.text(some.sampled_from("天气很好あいอากา a1。"), min_size=1), some.data())
def test_every_part_of_text_without_spaces_is_found_in_it(text: str, drawn: some.DataObject) -> None:
    """As FTS5 takes it, for any text and any part of one of its runs of such letters."""
    runs = [run for run in re.findall("[天气很好あいอากา]+", text) if run]
    connection = sqlite3.connect(":memory:")
    connection.execute(
        f"CREATE VIRTUAL TABLE found USING fts5(words, tokenize=\"unicode61 categories '{CATEGORIES}'\")"
    )
    connection.execute("INSERT INTO found VALUES (?)", (index_form(text),))
    for run in runs:
        start = drawn.draw(some.integers(0, len(run) - 1))
        part = run[start : drawn.draw(some.integers(start + 1, len(run)))]
        assert connection.execute("SELECT count(*) FROM found WHERE found MATCH ?", (Words(part),)).fetchone() == (1,)
    connection.close()

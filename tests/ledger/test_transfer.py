"""Export and import: what is exported comes back the same, and nothing incomplete or invalid gets in."""

import csv
import io
import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import ledgers
import pytest
from homes import Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ledgers import new_ledger, no_ledger
from rows import pairs, put, request, response
from transfer_cases import exported, old, rows, write
from waiting import WAIT_S

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Conflict, InvalidJSON, UsageError
from aorch.ledger.importing import ImportCounts
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import FIELDS, JSON_FIELDS, Record
from aorch.ledger.transfer import export_contracts, import_contracts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(wild=some.lists(rows, max_size=4, unique_by=lambda row: row.contract_id))
def test_an_imported_export_is_equal_to_the_byte(tmp_path: Path, wild: list[Record]) -> None:
    one, two = (new_ledger(tmp_path, name) for name in ("one.db", "two.db"))
    file = tmp_path / "one.jsonl"
    put(one, *wild)
    with Reader(one) as reader:
        export_contracts(reader, Filter(), "jsonl", file)
    assert import_contracts(two, file) == ImportCounts(new=len(wild))
    assert exported(two) == file.read_bytes()
    assert [json.loads(line) for line in exported(two).splitlines()] == [row.as_dict() for row in wild]
    assert import_contracts(one, file) == ImportCounts(present=len(wild))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(wild=some.lists(rows, max_size=4, unique_by=lambda row: row.contract_id))
def test_csv_reads_back_as_it_was_written(tmp_path: Path, wild: list[Record]) -> None:
    ledger = new_ledger(tmp_path)
    put(ledger, *wild)
    header, *lines = csv.reader(io.StringIO(exported(ledger, "csv").decode(), newline=""))
    assert tuple(header) == FIELDS
    assert lines == [[_in_csv(name, column or "") for name, column in zip(FIELDS, row, strict=False)] for row in wild]


def _in_csv(name: str, value: str) -> str:
    """An apostrophe comes before a string that a spreadsheet would run as a formula."""
    return f"'{value}" if name not in JSON_FIELDS and value[:1] in ("=", "+", "-", "@", "\t", "\r") and value else value


def test_an_export_contains_only_what_its_filters_match(blank: LedgerLocation) -> None:
    put(blank, *pairs(2, "one"), *pairs(3, "two"))
    lines = exported(blank, which=Filter(session_id="two", contract_type="REQUEST", text="word*")).splitlines()
    assert [json.loads(line)["payload"]["text"] for line in lines] == ["word0", "word1", "word2"]


def test_a_row_with_json_on_several_lines_is_exported_on_one(blank: LedgerLocation) -> None:
    put(blank, request(payload='{\n  "text": "hi"\n}'))
    (line,) = exported(blank).splitlines()
    assert json.loads(line)["payload"] == {"text": "hi"}


def test_a_session_file_of_the_older_store_is_imported(blank: LedgerLocation, tmp_path: Path) -> None:
    answer = old("b", "RESPONSE", completed_at="2025-10-30T19:41:08+02:00", result={"message": "Echo: hi"}, error=None)
    del answer["capability"], answer["payload"]
    file = write(tmp_path / "session_001.json", json.dumps([old("a", metadata={"n": float("nan")}), answer], indent=2))
    assert import_contracts(blank, file) == ImportCounts(new=2)
    first, second = map(json.loads, exported(blank).splitlines())
    assert first == {
        **dict.fromkeys(FIELDS),
        **old("a"),
        "created_at": "2025-10-30T17:41:07.123Z",
        "metadata": {"n": None},
    }
    assert second["completed_at"] == "2025-10-30T17:41:08.000Z"
    assert (second["capability"], second["payload"], second["result"]) == ("", {}, {"message": "Echo: hi"})
    assert import_contracts(blank, file) == ImportCounts(present=2)


def test_blank_lines_and_a_byte_order_mark_are_ignored(blank: LedgerLocation, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", "\ufeff" + json.dumps(old("a")), "", "  ", old("b"), "")
    assert import_contracts(blank, file) == ImportCounts(new=2)
    assert import_contracts(blank, write(tmp_path / "empty", "")) == ImportCounts()
    assert import_contracts(blank, write(tmp_path / "list", "\n\n ", "[", "]")) == ImportCounts()


def test_whole_numbers_survive_at_any_size(blank: LedgerLocation, tmp_path: Path) -> None:
    number = 12345678901234567890123456789012345678901234567890
    import_contracts(blank, write(tmp_path / "a.jsonl", old("a", result={"n": number})))
    assert json.loads(exported(blank))["result"] == {"n": number}


BROKEN: list[tuple[Any, type[Exception], str]] = [
    ("{", InvalidJSON, "not JSON"),
    ("\ufffd{}", InvalidJSON, "not JSON"),
    ("[" * 100_000, UsageError, "expected an object"),
    ('{"payload": {"a": ' + "[" * 100_000, InvalidJSON, "not JSON"),
    ("7", UsageError, "expected an object"),
    ({}, UsageError, "contract_id"),
    (old(""), UsageError, "contract_id"),
    (old("x", session_id=7), UsageError, "session_id"),
    (old("x", session_id="a\x00b"), UsageError, "session_id"),
    ('{"contract_id": "\\ud800"}', UsageError, "is missing"),
    (json.dumps(old("\ud800")), UsageError, "contract_id"),
    (old("x", contract_type="QUESTION"), UsageError, "contract_type"),
    (old("x", status="done"), UsageError, "status"),
    (old("x", created_at="yesterday"), UsageError, "invalid created_at: 'yesterday' (expected an RFC 3339 time)"),
    (old("x", created_at="0001-01-01T00:00:00+14:00"), UsageError, "created_at"),
    (old("x", payload=[1]), UsageError, "payload"),
    (old("x", mood="good"), UsageError, "unknown field `mood`"),
]


@pytest.mark.parametrize(("line", "kind", "reason"), BROKEN)
def test_an_invalid_contract_is_reported_with_its_location_and_those_before_it_stay_imported(
    blank: LedgerLocation, tmp_path: Path, line: Any, kind: type[Exception], reason: str
) -> None:
    file = write(tmp_path / "a.jsonl", old("a"), "", line, old("b"))
    with pytest.raises(kind) as refusal:
        import_contracts(blank, file)
    assert str(refusal.value).startswith(f"{file}, line 3: ")
    assert reason in str(refusal.value)
    assert "Contracts before it: 1 imported" in refusal.value.hint  # type: ignore[attr-defined]  # it is one of ours
    assert [json.loads(each)["contract_id"] for each in exported(blank).splitlines()] == ["a"]


def test_an_invalid_contract_of_a_list_is_reported_with_its_number(blank: LedgerLocation, tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", json.dumps([old("a"), old("b", status="done")]))
    with pytest.raises(UsageError, match=r"a\.json, contract 2 of the list: status: invalid enum value 'done'"):
        import_contracts(blank, file)
    with pytest.raises(InvalidJSON, match=r"b\.json is not JSON"):
        import_contracts(blank, write(tmp_path / "b.json", '[{"contract_id"'))


DIFFERENT: list[tuple[str, Any]] = [
    ("status", "failed"),
    ("payload", {"text": "HI"}),
    ("payload", {"text": True}),
    ("result", 1),
    ("error", "no"),
    ("created_at", "2025-10-30T17:41:07.124"),
    ("to_agent", None),
    ("parent_id", "p"),
]


@pytest.mark.parametrize(("field", "value"), DIFFERENT)
def test_a_contract_that_differs_is_rejected_with_the_field(
    blank: LedgerLocation, tmp_path: Path, field: str, value: Any
) -> None:
    import_contracts(blank, write(tmp_path / "a.jsonl", old("first"), old("same")))
    before = exported(blank)
    with pytest.raises(
        Conflict, match=rf"b\.jsonl, line 2: contract same is in the ledger already, and differs in {field}"
    ):
        import_contracts(blank, write(tmp_path / "b.jsonl", old("first"), old("same", **{field: value})))
    assert exported(blank) == before


def test_true_and_one_differ_while_the_order_of_keys_does_not(blank: LedgerLocation, tmp_path: Path) -> None:
    import_contracts(blank, write(tmp_path / "a.jsonl", old("a", payload={"x": True, "y": 1})))
    assert import_contracts(blank, write(tmp_path / "b", old("a", payload={"y": 1, "x": True}))).present == 1
    with pytest.raises(Conflict, match="payload"):
        import_contracts(blank, write(tmp_path / "b", old("a", payload={"y": 1, "x": 1})))


def test_a_file_may_contain_a_contract_twice_but_not_two_with_one_id(blank: LedgerLocation, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", old("a"), old("a"), old("a", error="no"))
    with pytest.raises(Conflict, match="line 3: contract a "):
        import_contracts(blank, file)
    assert len(exported(blank).splitlines()) == 1


def test_a_second_response_to_a_request_is_rejected(blank: LedgerLocation, tmp_path: Path) -> None:
    asked = request()
    put(blank, asked, response(asked, contract_id="first answer"))
    second = response(asked, contract_id="second answer").as_dict()
    with pytest.raises(
        Conflict, match=r"contract second answer answers request .* first answer in the ledger answers already"
    ):
        import_contracts(blank, write(tmp_path / "a.jsonl", second))


def test_a_fixed_file_is_imported_from_where_the_import_stopped(blank: LedgerLocation, tmp_path: Path) -> None:
    forms = [old(f"c{number}") for number in range(1_200)]
    file = write(tmp_path / "a.jsonl", *forms[:777], "{", *forms[777:])
    with pytest.raises(InvalidJSON, match="line 778") as refusal:
        import_contracts(blank, file)
    assert refusal.value.hint.endswith("Contracts before it: 777 imported, 0 skipped.")
    write(file, *forms)
    assert import_contracts(blank, file) == ImportCounts(new=423, present=777)


def test_a_ledger_is_piped_into_another(home: Home) -> None:
    put(home.ledger, *pairs(40))
    source = home.start("contracts", "export")
    other = no_ledger(home.folder, "other.db")
    sink = home.start("contracts", "import", "-", "--json", "--ledger", str(other), stdin=source.stdout)
    out, err = sink.communicate(timeout=60)
    source.communicate(timeout=60)
    assert source.wait(timeout=60) == sink.returncode == 0
    assert json.loads(out) == {"files": [{"file": "-", "new": 80, "updated": 0, "skipped": 0, "erased": 0}]}
    assert err.decode() == f"warning: no ledger at {other}: aorch creates it\n"
    assert exported(other) == exported(home.ledger)


def test_import_exits_13_with_one_sentence_for_a_contract_that_differs(home: Home) -> None:
    home.write("a.jsonl", json.dumps(old("a")))
    home.write("b.jsonl", json.dumps(old("a", status="failed")))
    assert home.aorch("contracts", "import", "a.jsonl").out == "a.jsonl: 1 imported, 0 skipped\n"
    result = home.aorch("contracts", "import", "a.jsonl", "b.jsonl")
    assert result.code == 13
    assert result.out == "a.jsonl: 0 imported, 1 skipped\n"
    assert result.err == (
        "error: b.jsonl, line 1: contract a is in the ledger already, and differs in status\n"
        "hint: Compare it with `aorch contracts show a`; remove its line to keep the contract in the ledger.\n"
    )


def test_import_of_a_missing_file_exits_12_and_creates_no_ledger(bare_home: Home) -> None:
    assert bare_home.aorch("contracts", "import", "no.jsonl").code == 12
    assert bare_home.aorch("contracts", "import", ".").code == 2
    assert not ledgers.exists(bare_home.ledger)


def test_an_export_replaces_its_file_only_when_it_is_complete(home: Home) -> None:
    put(home.ledger, *pairs(2))
    target = home.write("out.jsonl", "what was there")
    assert home.aorch("contracts", "export", "--output", "out.jsonl", "--text", "--").code == 2
    assert target.read_text() == "what was there"
    assert home.aorch("contracts", "export", "--output", "out.jsonl").code == 0
    assert target.read_bytes() == exported(home.ledger)
    assert sorted(path.name for path in home.folder.glob("out*")) == ["out.jsonl"]


def test_an_export_to_a_dash_goes_to_standard_output(home: Home) -> None:
    put(home.ledger, *pairs(2))
    assert home.aorch("contracts", "export", "--output", "-").out == exported(home.ledger).decode()
    home.aorch("compress", "--all")
    assert home.aorch("memory", "export", "-o", "-").out == home.aorch("memory", "export").out
    assert not (home.folder / "-").exists()


@pytest.mark.sqlite_only("it writes an export over the file of the ledger")
def test_an_export_over_the_ledger_or_to_an_invalid_path_is_rejected(home: Home) -> None:
    put(home.ledger, *pairs(2))
    before = home.ledger.read_bytes()
    (home.folder / "link").symlink_to(home.ledger)
    for output, reason in (
        ("ledger.db", "the ledger itself"),
        ("link", "the ledger itself"),
        ("no/where", "No such file"),
    ):
        result = home.aorch("contracts", "export", "-o", output)
        assert result.code == 2
        assert reason in result.err
    assert home.ledger.read_bytes() == before


def test_an_export_can_be_written_to_a_named_pipe(home: Home) -> None:
    put(home.ledger, *pairs(2))
    os.mkfifo(home.folder / "pipe")
    reading = subprocess.Popen(["cat", home.folder / "pipe"], stdout=subprocess.PIPE)
    assert home.aorch("contracts", "export", "-o", "pipe").code == 0
    assert reading.communicate(timeout=WAIT_S)[0] == exported(home.ledger)
    assert stat.S_ISFIFO((home.folder / "pipe").stat().st_mode)


def test_an_export_of_a_missing_ledger_is_empty_and_creates_none(bare_home: Home) -> None:
    assert (result := bare_home.aorch("contracts", "export")).code == 0
    assert result.out == ""
    assert not ledgers.exists(bare_home.ledger)


def test_an_export_ends_silently_if_its_reader_closes_the_pipe(home: Home) -> None:
    put(home.ledger, *pairs(2_000))
    exporting = home.start("contracts", "export")
    assert exporting.stdout is not None
    exporting.stdout.readline()
    exporting.stdout.close()
    assert exporting.wait(timeout=60) == 141
    assert exporting.stderr is not None
    assert exporting.stderr.read() == b""
    exporting.stderr.close()


PEAK = "; print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
"""Python that prints the most memory (KiB) that this process held; getrusage would count its parent's."""


@pytest.mark.torture
def test_contracts_of_ten_megabytes_are_exported_and_imported_a_few_at_a_time(tmp_path: Path) -> None:
    put(tmp_path / "a.db", *(request(text="x" * 10_000_000) for _ in range(12)))
    script = (
        "import sys; from pathlib import Path; from aorch.ledger.transfer import *; folder = Path(sys.argv[1]);"
        "from aorch.ledger.reader import Reader;"
        "export_contracts(Reader(folder / 'a.db'), Filter(), 'jsonl', folder / 'a.jsonl');"
        "import_contracts(folder / 'b.db', folder / 'a.jsonl')"
    )
    command = [sys.executable, "-c", script + PEAK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert int(done.stdout) < 180 * 1024
    with Reader(tmp_path / "b.db") as reader:
        assert reader.last_position() == 12


@pytest.mark.torture
def test_a_million_contracts_are_exported_in_less_than_100_mib(home: Home) -> None:
    put(home.ledger, request())
    connection = sqlite3.connect(home.ledger)
    columns = ", ".join(FIELDS[1:])
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999999)"
    connection.execute(
        f"{numbers} INSERT INTO contracts (contract_id, {columns}) SELECT printf('01X%023d', i), {columns} FROM n, contracts"
    )
    connection.commit()
    connection.close()
    script = "import sys; from aorch.cli.main import app; app(sys.argv[1:], standalone_mode=False)" + PEAK
    command = [sys.executable, "-c", script, "contracts", "export", "--output", "all.jsonl"]
    done = subprocess.run(command, cwd=home.folder, env=home.environment, capture_output=True, check=True, timeout=300)
    assert int(done.stdout) < 100 * 1024
    with (home.folder / "all.jsonl").open("rb") as lines:
        assert sum(1 for _ in lines) == 1_000_000


@pytest.mark.parametrize("text", ["1.0", "0.1e-7", "123456789012345678901234567890"])
def test_a_bare_number_is_stored_as_it_was_written(blank: LedgerLocation, text: str) -> None:
    put(blank, request(result=text))
    with Reader(blank) as reader:
        assert [row.result for row in reader.stream()] == [text]

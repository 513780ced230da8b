"""`aorch run --batch`: each line has one result, whatever is in it."""

import json
import re
import subprocess

import pytest
from batches import lines, results, seen, statuses, task
from homes import Home
from waiting import WAIT_S, wait_for

# Lines and results


def test_each_line_has_a_result_with_its_id_and_both_contracts(home: Home) -> None:
    home.write("b.jsonl", lines(task(1), task(2, about={"id": "two", "session_id": "other"})))
    done = home.aorch("run", "--batch", "b.jsonl", "--session", "s")
    first, second = sorted(results(done), key=str)
    assert list(first) == ["id", "success", "data", "error", "contract_id", "agent_id", "session_id", "timestamp"]
    assert (first["id"], first["success"], first["data"], first["session_id"]) == ("two", True, 2, "other")
    assert (second["id"], second["data"], second["session_id"], second["agent_id"]) == (1, 1, "s", "witness")
    assert statuses(home) == [("REQUEST", "completed", 2), ("RESPONSE", "completed", 2)]
    assert done.code == 0
    assert re.fullmatch(r"2 lines: 2 succeeded · [\d.]+ s, \d+/s · sessions (s, other|other, s)\n", done.err)


def test_results_come_as_tasks_end_or_in_the_order_of_the_lines(home: Home) -> None:
    home.write("b.jsonl", lines(task(1, sleep=0.3), task(2), task(3, sleep=0.1)))
    assert [result["id"] for result in results(home.aorch("run", "--batch", "b.jsonl"))] == [2, 3, 1]
    assert [result["id"] for result in results(home.aorch("run", "--batch", "b.jsonl", "--ordered"))] == [1, 2, 3]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("nope", "not JSON"),
        ("[1]", "a task must be a JSON object, not [1]"),
        (
            '{"capability": "once", "n": 1, "text": "a"}',
            "unknown fields 'n', 'text' (fields: capability, parameters, session_id, priority, id, context, agent_id, "
            "require, "
            'timeout_s); write {"parameters": {"n": …, "text": …}}, or read the fields of each line as parameters: '
            "aorch run once n:={n} text={text} --batch -",
        ),
        ('{"parameters": {}, "n": 1}', "unknown field 'n' (fields: capability, parameters, "),
        ('{"capability": "once", "a:b": 1}', 'write {"parameters": {"a:b": …}}'),
        ('{"parameters": {}}', "missing capability"),
        ('{"capability": 1}', "capability must be a string, not 1"),
        ('{"capability": "once", "parameters": [1]}', "parameters must be a JSON object"),
        ('{"capability": "once", "priority": 6}', "priority must be an integer from 1 (runs first) to 5, not 6"),
        ('{"capability": "once", "priority": true}', "priority must be an integer"),
        ('{"capability": "once", "id": 1.5}', "id must be a string or an integer"),
        ('{"capability": "once", "timeout_s": -1}', "timeout_s"),
        ('{"capability": "once", "session_id": ""}', "session_id"),
        ("\udcff", "not JSON"),
    ],
)
def test_an_invalid_line_has_an_error_with_its_number_and_the_batch_continues(
    home: Home, broken: str, said: str
) -> None:
    text = f"{lines(task(1))}\n{broken}\n{lines(task(2))}"
    done = home.aorch("run", "--batch", "-", "--ordered", stdin=text.encode("utf-8", "surrogateescape"))
    first, wrong, last = results(done)
    assert (first["data"], last["data"], last["id"]) == (1, 2, 4)
    assert (wrong["id"], wrong["success"], wrong["contract_id"]) == (3, False, None)
    assert wrong["error"].startswith("line 3: ")
    assert said in wrong["error"]
    assert done.code == 2
    assert "2 succeeded, 1 invalid" in done.err


def test_a_line_that_is_too_long_has_an_error_and_the_next_one_is_run(home: Home) -> None:
    done = home.aorch(
        "run", "--batch", "-", "--ordered", stdin=lines(task(1)) + "x" * 17_000_000 + "\n" + lines(task(3))
    )
    assert [result["success"] for result in results(done)] == [True, False, True]
    assert results(done)[1]["error"] == "line 2: longer than 16,777,216 bytes"


@pytest.mark.parametrize("first", ["id,n", '"id","n"', "nope", "\n\nid"])
def test_a_first_line_that_is_not_json_is_rejected_once_with_a_hint_at_csv(home: Home, first: str) -> None:
    home.write("b c.csv", f"{first}\na,1\nb,2\n")
    done = home.aorch("run", "once", "--batch", "b c.csv")
    assert (done.code, done.out, statuses(home)) == (2, "", [])
    assert done.err.splitlines() == [
        f"error: the first line is not JSON, so nothing was run: {first.strip()}",
        "hint: If b c.csv is CSV with a header, run `aorch run once --batch 'b c.csv' --csv`.",
    ]


@pytest.mark.parametrize("first", ['{"n": 1', "[1,", "1", "x" * 17_000_000])
def test_an_invalid_first_line_is_one_error(home: Home, first: str) -> None:
    done = home.aorch("run", "once", "--batch", "-", "--ordered", stdin=f"{first}\n{lines(task(2))}")
    assert [result["success"] for result in results(done)] == [False, True]


def test_a_byte_order_mark_windows_line_ends_and_a_last_line_without_newline_are_accepted(home: Home) -> None:
    text = "\ufeff" + lines(task(1), task(2)).replace("\n", "\r\n") + json.dumps(task(3))
    done = home.aorch("run", "--batch", "-", "--ordered", stdin=text)
    assert [(result["id"], result["data"]) for result in results(done)] == [(1, 1), (2, 2), (3, 3)]


def test_an_empty_batch_succeeds(home: Home) -> None:
    done = home.aorch("run", "--batch", "-", stdin="")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("0 lines: 0 succeeded")


def test_a_result_comes_before_the_next_line_is_written(home: Home) -> None:
    running = home.start("run", "--batch", "-", stdin=subprocess.PIPE)
    assert running.stdin
    assert running.stdout
    for n in (1, 2):
        running.stdin.write(lines(task(n)).encode())
        running.stdin.flush()
        assert json.loads(running.stdout.readline())["data"] == n
    running.communicate(timeout=WAIT_S)
    assert running.returncode == 0


def test_the_urgent_of_those_that_wait_go_first_and_the_contract_says_how_urgent(home: Home) -> None:
    ranked = [task(n, about={"priority": priority}) for n, priority in enumerate((5, 3, 1, 2, 1))]
    home.write("b.jsonl", lines(*ranked, task("usual")))
    done = home.aorch("run", "--batch", "b.jsonl", "--parallel", "1")
    assert [result["data"] for result in results(done)] == [2, 4, 3, 1, "usual", 0]
    kept = home.rows(
        "SELECT payload, metadata FROM contracts WHERE contract_type = 'REQUEST' AND metadata LIKE '%priority%'"
    )
    ranks = sorted((json.loads(payload)["n"], json.loads(metadata)["priority"]) for payload, metadata in kept)
    assert ranks == [(0, 5), (1, 3), (2, 1), (3, 2), (4, 1)]


@pytest.mark.torture
def test_a_slow_first_line_holds_up_reading_and_never_piles_up_results(home: Home) -> None:
    """In order, 20,000 lines: about a thousand are done while the first is not, and all of them afterwards."""
    home.write("b.jsonl", lines(task(0, wait="go"), *(task(n) for n in range(1, 20_000))))
    with (home.folder / "out").open("wb") as out:
        running = home.start("run", "--batch", "b.jsonl", "--ordered", stdout=out)
        wait_for(lambda: len(seen(home)) > 999)
        assert home.aorch("run", "echo", "text=a").code == 0  # as long as a whole start takes, for more to be done
        assert len(seen(home)) < 3000
        assert (home.folder / "out").read_bytes() == b""
        home.write("go", "")
        running.communicate(timeout=60)
    assert running.returncode == 0
    assert [result["data"] for result in results((home.folder / "out").read_text())] == list(range(20_000))


def test_the_command_line_says_what_the_lines_do_not(home: Home) -> None:
    home.write("b.jsonl", lines({"parameters": {"n": 1}}, {"id": "x", "context": {"b": 2}}, task(3, "again")))
    done = home.aorch(
        "run", "once", "n:=7", "--batch", "b.jsonl", "--ordered", "--session", "s", "--context", '{"a": 1}',
        "--agent", "witness", "--params", '{"n": 8, "more": "m"}',
    )  # fmt: skip
    assert [result["data"] for result in results(done)] == [1, 7, 3]
    requests = home.rows(
        "SELECT capability, payload, metadata FROM contracts WHERE contract_type = 'REQUEST' ORDER BY payload"
    )
    assert [(*row, json.loads(metadata)["context"]) for *row, metadata in requests] == [
        ("once", '{"n":1,"more":"m"}', {"a": 1}),
        ("again", '{"n":3,"more":"m"}', {"a": 1}),
        ("once", '{"n":7,"more":"m"}', {"a": 1, "b": 2}),
    ]


# Columns


def test_columns_are_the_parameters(home: Home) -> None:
    home.write("b.csv", '\ufefftext,n\n"a, ""b""\nc",1\n\nü,2\n')
    done = home.aorch("run", "once", "--batch", "b.csv", "--csv", "--ordered")
    assert [(result["id"], result["data"]) for result in results(done)] == [(2, "1"), (5, "2")]
    assert home.rows("SELECT payload FROM contracts WHERE contract_type = 'REQUEST' ORDER BY position") == [
        ('{"text":"a, \\"b\\"\\nc","n":"1"}',),
        ('{"text":"ü","n":"2"}',),
    ]


def test_columns_fill_templates(home: Home) -> None:
    rows = 'id,First Name,count,tags\na,Ann,3,"[""x""]"\nb,{id},four,[]\n'
    items = [
        "n=Dear {First Name}, {{id}}",
        "count:={count}",
        "all:={tags}",
        'doc:={"who": "{First Name}", "{id}": ["{id}"]}',
        "lang=en",
    ]
    done = home.aorch("run", "once", *items, "--batch", "-", "--csv", "--ordered", stdin=rows)
    first, second = results(done)
    assert (first["id"], first["data"]) == ("a", "Dear Ann, {id}")
    assert second["error"] == "line 3: column 'count' is not JSON: unexpected end: 'four'"
    assert home.rows("SELECT payload FROM contracts WHERE contract_type = 'REQUEST'") == [
        ('{"lang":"en","n":"Dear Ann, {id}","doc":{"who":"Ann","{id}":["a"]},"count":3,"all":["x"]}',)
    ]
    assert done.code == 2


def test_templates_are_filled_from_the_fields_of_json_objects(home: Home) -> None:
    rows = lines(
        {"body": "x", "count": 12345678901234567890123, "priority": "high"},
        {"body": ["y"], "id": 7, "count": None},
        {"count": 1},
    )
    done = home.aorch("run", "once", "n={body}", "count:={count}", "--batch", "-", "--ordered", stdin=rows)
    first, second, third = results(done)
    assert (first["id"], first["data"], second["id"], second["data"]) == (1, "x", 7, '["y"]')
    assert third["error"] == "line 3: no column 'body' (columns: count)"
    assert home.rows(
        "SELECT payload FROM contracts WHERE contract_type = 'REQUEST' ORDER BY position LIMIT 1"
    ) == [('{"n":"x","count":12345678901234567890123}',)]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "the CSV header"),
        ("a,a\n1,2\n", "names 'a' twice"),
        ("a,\n1,2\n", "must name every column"),
        ('"a\n', "cannot read the CSV header"),
        ("body,text\n1,2\n", "no column 'id' (columns: body, text)"),
    ],
)
def test_an_invalid_header_is_rejected_before_any_task_runs(home: Home, rows: str, said: str) -> None:
    done = home.aorch("run", "once", "n={id}", "--batch", "-", "--csv", stdin=rows)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert said in done.err
    assert statuses(home) == []


def test_broken_rows_are_error_lines_and_the_others_are_done(home: Home) -> None:
    rows = b'n\n1\n1,2\n\xff\n"x"y\n5\n"6\n'
    done = home.aorch("run", "once", "--batch", "-", "--csv", "--ordered", stdin=rows)
    assert [(result["id"], result["success"]) for result in results(done)] == [
        (2, True), (3, False), (4, False), (5, False), (6, True), (7, False)
    ]  # fmt: skip
    assert [result["error"].partition(":")[0] for result in results(done) if result["error"]] == [
        "line 3", "line 4", "line 5", "line 7"
    ]  # fmt: skip

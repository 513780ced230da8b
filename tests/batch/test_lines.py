"""The lines of a batch, however their bytes arrive: byte order marks, blank lines, and lines of CSV that cannot be used."""

import json
import socket
import threading

import pytest
from homes import Home

from aorch.batch import raw_lines
from aorch.batch.batch_line import Line
from aorch.batch.columns import ColumnTemplates
from aorch.batch.lines import Defaults, LineParser
from aorch.batch.raw_lines import LONGEST_LINE

BOM = b"\xef\xbb\xbf"
TASK = b'{"capability":"echo","parameters":{"text":"a"}}\n'


def made(*packets: bytes, csv: bool = False) -> list[Line]:
    """The lines of what arrives in those reads: a socket of packets gives one to each."""
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def write() -> None:
        with writing:
            for packet in packets:
                writing.send(packet)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        lines = LineParser(Defaults("echo", ColumnTemplates(), "s"), b"")
        return [line for some in (lines.from_csv if csv else lines.from_json)(reading.fileno()) for line in some]
    finally:
        while reading.recv(raw_lines.READ_SIZE):  # what was not read would hold the thread
            pass
        thread.join()
        reading.close()


def parts(lines: list[Line]) -> list[tuple[int, object]]:
    """The number of each line, with its parameters or its error."""
    return [(line.number, line.task.parameters if line.task else f"{line.refusal}") for line in lines]


@pytest.mark.parametrize(
    "packets",
    [
        (BOM, TASK),
        (BOM[:1], BOM[1:] + TASK),
        (BOM[:2], BOM[2:], TASK),
        (BOM + TASK,),
        (BOM, b"\n" + TASK),
        (TASK[:1], TASK[1:]),
    ],
)
def test_a_byte_order_mark_is_accepted_however_its_bytes_arrive(packets: tuple[bytes, ...]) -> None:
    assert [line.task.parameters for line in made(*packets) if line.task] == [{"text": "a"}]
    rows = (
        packet.replace(TASK, b"text\na\n").replace(TASK[1:], b"ext\na\n").replace(TASK[:1], b"t") for packet in packets
    )
    assert [line.task.parameters for line in made(*rows, csv=True) if line.task] == [{"text": "a"}]


def test_a_mark_alone_is_an_empty_batch_and_half_a_mark_is_not_json() -> None:
    assert made(BOM) == made() == []
    with pytest.raises(Exception, match="the first line is not JSON"):
        made(BOM[:2])


def test_numbers_count_blank_lines() -> None:
    assert parts(made(b"\n\n" + TASK + b"\n{\n"))[0] == (3, {"text": "a"})
    assert made(b"\n\n" + TASK + b"\n{\n")[1].number == 5
    assert parts(made(b"\ntext\n\na\n\n\nb,c\n\nd\n", csv=True)) == [
        (4, {"text": "a"}),
        (7, "line 7: the row has 2 cells, but the header names 1 columns"),
        (9, {"text": "d"}),
    ]


def test_a_row_with_an_invalid_byte_in_a_quoted_cell_is_one_broken_row() -> None:
    rows = b'n,text\n1,"first \xff line\n2,second line\nlast line"\n3,fine\n4,bad\xff\n5,"two\nlines \xff"\n6,end\n'
    assert parts(made(rows, csv=True)) == [
        (2, "line 2: not UTF-8 text (byte 9)"),
        (5, {"n": "3", "text": "fine"}),
        (6, "line 6: not UTF-8 text (byte 5)"),
        (7, "line 7: not UTF-8 text (byte 6) in line 8"),
        (9, {"n": "6", "text": "end"}),
    ]


@pytest.mark.parametrize(
    "long", [b'1,"%s\n2,second\nlast"', b'1,"first\n%s\n2,second"', b'1,"first\n2,%s"', b"1,%s", b'1,"%s"']
)
def test_a_line_that_is_too_long_breaks_its_row_and_no_other(long: bytes) -> None:
    row = long % (b"x" * (LONGEST_LINE + 1))
    assert [line.task is not None for line in made(*packets(b"n,text\n" + row + b"\n3,fine\n"), csv=True)] == [
        False,
        True,
    ]


def test_a_cell_that_never_ends_ends_the_batch() -> None:
    row = b"9,%s\n" % (b"row" * 1000)
    cell = row * (LONGEST_LINE // len(row) + 1)
    lines = made(*packets(b'n,text\n1,fine\n2,"' + cell), csv=True)
    assert parts(lines) == [
        (2, {"n": "1", "text": "fine"}),
        (3, f"line 3: a cell does not end within {LONGEST_LINE:,} bytes"),
    ]


def packets(data: bytes) -> list[bytes]:
    return [data[at : at + raw_lines.READ_SIZE] for at in range(0, len(data), raw_lines.READ_SIZE)]


def test_marks_are_accepted_in_every_file_of_json(home: Home) -> None:
    home.folder.joinpath("p.json").write_bytes(BOM + b'{"text":"a"}')
    home.folder.joinpath("t.json").write_bytes(BOM + b'"b"')
    assert home.aorch("run", "echo", "--params", "@p.json").out == "Echo: a\n"
    assert home.aorch("run", "echo", "text:=@t.json").out == "Echo: b\n"
    exported = home.aorch("contracts", "export").out
    home.folder.joinpath("e.jsonl").write_bytes(BOM + b"\n" + exported.encode())
    assert home.aorch("contracts", "import", "e.jsonl", "--ledger", "other.db", "--json").json["files"][0]["new"] == 4
    home.folder.joinpath("l.json").write_bytes(BOM + f"[{','.join(exported.splitlines())}]".encode())
    assert home.aorch("contracts", "import", "l.json", "--ledger", "third.db", "--json").json["files"][0]["new"] == 4
    assert json.loads(exported.splitlines()[0])

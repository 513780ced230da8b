"""A search finds the same contracts on PostgreSQL as on SQLite, in the same order."""

from pathlib import Path

import pytest
from postgres_rows import put_in
from rows import pairs, request, response

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation, PostgresUrl
from aorch.ledger.database import Database, statements, transaction
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import Record
from aorch.ledger.upkeep import remove_words

TEXTS = (
    "order 12",
    "order 123 refused",
    "user mia_li_3668 asked",
    "li 3668 and mia",
    "connection refused by db-7.internal at http://db-7.internal:5432/x?y=z",
    'first\nsecond\tthird"fourth\\fifth→sixth é',
    "it's O'Brien's \\ back'slash",
    "Ünïcödé STRASSE straße İstanbul",
    "今天天气很好，我们去公园",
    "東京タワーとカタカナ",
    "สวัสดีครับ ภาษาไทย",
    "",
    f"long {'x' * 5000} end",
    " ".join(f"w{number}" for number in range(700)),
    " ".join(["0"] * 600) + " zero",
)
QUERIES = (
    *(
        "order 12",
        "order 12*",
        "refus*",
        "mia_li_3668",
        "mia li 3668",
        "refused db-7.internal",
        "internal:5432/x",
        "é",
        "E",
    ),
    *(
        "second",
        "nsecond",
        "fourth",
        "o'brien's",
        "back'slash",
        "\\",
        "unicode",
        "strasse",
        "straße",
        "istanbul",
        "x" * 5000,
    ),
    *(
        "天气",
        "天",
        "很好 公园",
        "好，我们",
        "タワー",
        "ภาษา",
        "ครับ",
        "kw* text",
        "a AND",
        "NEAR(mia)",
        "^hi",
        "w1 w699",
        "zero",
    ),
    *(
        "'; DROP TABLE contracts --",
        "%s",
        "x*",
        f"{'x' * 1999}*",
        "w63 w64 w65",
        "_".join(f"w{n}" for n in range(150, 340)),
    ),
    "_".join(["0"] * 100),
    "_".join(["w3", "w5"]),
)


@pytest.fixture
def postgres(postgres_ledger: PostgresUrl) -> PostgresUrl:
    """The URL of an empty ledger."""
    return postgres_ledger


def found(location: LedgerLocation, text: str) -> list[str]:
    with Reader(location) as reader:
        return [row.contract_id for row in reader.page(Filter(text=text), limit=None)]


@pytest.fixture
def rows() -> list[Record]:
    asked = [request(text=text) for text in TEXTS]
    failed = response(request(), None, error="timed out after 30 s")
    return [*asked, failed, request(payload=jsonio.encode({"kw": [1.5, {"text": None}], "ok": True})), *pairs(2)]


def test_the_same_words_find_the_same_contracts(path: Path, postgres: PostgresUrl, rows: list[Record]) -> None:
    for location in (path, postgres):
        put_in(location, *rows)
    for query in QUERIES:
        try:
            wanted = found(path, query)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the same
            with pytest.raises(type(error)):
                found(postgres, query)
        else:
            assert found(postgres, query) == wanted, query


def test_pages_of_a_search_join_and_the_index_catches_up(postgres: PostgresUrl) -> None:
    rows = [request(text="needle" if number % 3 else "hay") for number in range(40)]
    put_in(postgres, *rows[:20])
    assert len(found(postgres, "needle")) == 13
    put_in(postgres, *rows[20:])
    seen: list[str] = []
    before = None
    with Reader(postgres) as reader:
        while page := reader.page(Filter(text="needle", session_id="s"), limit=7, before=before):
            seen += [contract.contract_id for contract in page]
            before = reader.position(page[-1].contract_id)
        assert reader.total(Filter(text="needle")) == len(seen)
    assert seen == [row.contract_id for number, row in enumerate(rows) if number % 3][::-1]


def test_removed_contracts_are_not_found_and_not_indexed_again(postgres: PostgresUrl) -> None:
    put_in(postgres, *(request(text="needle") for _ in range(3)))
    assert len(found(postgres, "needle")) == 3
    with Database(postgres).transactions() as connection:
        with transaction(connection):
            remove_words(connection, [3])
            connection.execute(statements.DELETE_CONTRACTS_AT, ("[3]",))
        assert len(found(postgres, "needle")) == 2
        assert connection.execute("SELECT position FROM contracts_text ORDER BY 1").fetchall() == [(1,), (2,)]

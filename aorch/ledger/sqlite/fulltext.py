"""Full-text search in the payload, result and error of contracts, by SQLite's FTS5.

Writers do not update the index (`contracts_text`): `search.catch_up` does, by what is here.
"""

from aorch.ledger.sqlite.connection import Connection

# FTS5 has no counterpart in SQLAlchemy, so these are not generated.
JOIN = "JOIN contracts_text ON {}.position = +contracts_text.rowid"
"""The `+` keeps SQLite from a full-text search per contract, which took 33 s for 1,000 failed ones instead of 0.2 s."""
MATCHES = "contracts_text MATCH ?"
IS_AMONG = "+contracts_text.rowid IN (SELECT value FROM json_each(?))"
"""Restricts the search to contracts at these positions. The `+` has the same reason."""
BEFORE, AFTER, OLDEST_FIRST, NEWEST_FIRST = (
    "contracts_text.rowid < ?",
    "contracts_text.rowid > ?",
    "contracts_text.rowid",
    "contracts_text.rowid DESC",
)
"""By this column, SQLite reads the index in order, without a sort."""
REACHED = "SELECT coalesce(max(id), 0) FROM contracts_text_docsize"
"""The position of the newest contract in the index, or 0."""
WHAT_TO_DO_IF_READ_ONLY = "Make it writable for one search, or search a copy of it."
_EMPTY = "INSERT INTO contracts_text (contracts_text) VALUES ('delete-all')"
_ADD = (
    "INSERT INTO contracts_text (rowid, words) SELECT c.position, CASE WHEN e.contract_id IS NULL THEN ? ELSE '' END"
    " FROM contracts c LEFT JOIN erased_contracts e ON e.contract_id = c.contract_id WHERE c.position = ?"
)
"""Adds nothing for a contract that was deleted since it was read, and no words of one that was erased since."""


def entries(words: list[tuple[int, str]]) -> list[tuple[str, int]]:
    """What `add` writes for contracts, given by their positions and words."""
    return [(text, position) for position, text in words]


def add(writing: Connection, added: list[tuple[str, int]]) -> None:
    """Add `entries` to the index, in the caller's transaction."""
    writing.executemany(_ADD, added)


def erase_fulltext(writing: Connection, position: int) -> None:
    """Empty the index, in the caller's transaction, if it contains the contract at that position: SQLite 3.40 cannot remove
    the words of single contracts from its data. The next search indexes all contracts again.
    """
    (reached,) = writing.execute(REACHED).fetchone()
    if reached >= position:
        writing.execute(_EMPTY)

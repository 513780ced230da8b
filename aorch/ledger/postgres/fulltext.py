"""Full-text search on PostgreSQL: the same words find the same contracts as on SQLite.

Writers do not update the index (`contracts_text`): `search.catch_up` does, by what is here.
"""

from aorch import jsonio
from aorch.ledger.postgres.connection import Connection
from aorch.ledger.postgres.tokens import tokenizer, vectors

REACHED = "SELECT coalesce(max(position), 0) FROM contracts_text"
"""The position of the newest contract in the index, or 0."""
WHAT_TO_DO_IF_READ_ONLY = "Search it once with a user who may write to it."
_ADD = (
    "INSERT INTO contracts_text (position, part, words) SELECT c.position, new.part::bigint,"
    " CASE WHEN e.contract_id IS NULL THEN new.words::tsvector ELSE '' END"
    " FROM json_to_recordset(%s) AS new (position bigint, part bigint, words text)"
    " JOIN contracts c ON c.position = new.position LEFT JOIN erased_contracts e ON e.contract_id = c.contract_id"
)
"""Adds nothing for a contract that was deleted since it was read, and no words of one that was erased since."""
_ERASE = (
    "UPDATE contracts_text t SET words = '' FROM contracts c JOIN erased_contracts e ON e.contract_id = c.contract_id"
    " WHERE c.position = t.position AND t.position >= %s AND t.words <> ''"
)


def entries(words: list[tuple[int, str]]) -> str:
    """What `add` writes for contracts, given by their positions and words."""
    rows = [
        {"position": position, "part": part, "words": vector}
        for (position, _), tokens in zip(words, tokenizer.split([text for _, text in words]), strict=True)
        for part, vector in enumerate(vectors(tokens))
    ]
    return jsonio.encode(rows)


def add(writing: Connection, added: str) -> None:
    """Add `entries` to the index, in the caller's transaction."""
    writing.execute(_ADD, (added,))


def erase_fulltext(writing: Connection, position: int) -> None:
    """Remove the words of all erased contracts from that position on, in the caller's transaction."""
    writing.execute(_ERASE, (position,))

"""The statements of PostgreSQL for those of SQLite, by which the rest of the ledger names them."""

from functools import lru_cache

from aorch.ledger.postgres import fulltext_pieces
from aorch.ledger.postgres import statements as own
from aorch.ledger.sqlite import fulltext as sqlite_fulltext
from aorch.ledger.sqlite import statements as sqlite

_TWINS: dict[str, str] = {
    text: getattr(own, name) for name, text in vars(sqlite).items() if name.isupper() and name != "REVISION"
}
_TWINS |= {
    getattr(sqlite_fulltext, name): getattr(fulltext_pieces, name)
    for name in ("MATCHES", "IS_AMONG", "BEFORE", "AFTER", "OLDEST_FIRST", "NEWEST_FIRST")
}
_TWINS |= {sqlite_fulltext.JOIN.format(name): fulltext_pieces.JOIN.format(name) for name in ("c", "m")}


@lru_cache(maxsize=1000)
def own_text(sql: str) -> str:
    """PostgreSQL's text for `sql`: for a statement of SQLite, its twin; for composed SQL, the twins of its pieces.

    Other text is PostgreSQL's own already.
    """
    twin = _TWINS.get(sql)
    if twin is None and (pieces := getattr(sql, "pieces", None)) is not None:
        return "".join([_TWINS.get(piece, piece) for piece in pieces])
    return sql if twin is None else twin

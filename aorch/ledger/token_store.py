"""Reads and writes access tokens.

The rules for tokens are in govern/access_tokens.py. The table is `Token` in schema.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.ledger.database import Connection, Database, statements


class TokenRow(NamedTuple):
    """A token's row: `sha256` is the hash of the token in hex, which is not stored itself; times are RFC 3339 text.

    `capabilities` are those whose tasks a worker may claim with it; None: any.
    """

    token_id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    agent_id: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    capabilities: tuple[str, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Its JSON form, without the hash."""
        return {name: value for name, value in self._asdict().items() if name != "sha256"}


def read(path: LedgerLocation) -> list[TokenRow]:
    """Every token of the ledger at `path`, oldest first, including expired and revoked ones; none if the file does not
    exist.

    Raises LedgerError.
    """
    with Database(path) as database:
        if not database.exists():
            return []
        with database.read() as connection:
            return _rows(connection)


@contextmanager
def writing(path: LedgerLocation) -> Iterator["Tokens"]:
    """The tokens of the ledger at `path`, under its write lock; committed at the end of the block. Raises LedgerError."""
    with Database(path) as database, database.write() as connection:
        yield Tokens(connection)


class Tokens:
    """The tokens, under the write lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self) -> list[TokenRow]:
        """Every token, oldest first."""
        return _rows(self._connection)

    def add(self, row: TokenRow) -> None:
        """Write `row`."""
        capabilities = None if row.capabilities is None else jsonio.encode(row.capabilities)
        values = row._replace(scopes=jsonio.encode(row.scopes), capabilities=capabilities)  # type: ignore[arg-type]  # as text
        self._connection.execute(statements.INSERT_TOKEN, values)

    def revoke(self, token_id: str, moment: str) -> None:
        """Revoke that token at `moment`, unless it is revoked already."""
        self._connection.execute(statements.REVOKE_TOKEN, (moment, token_id))


def _rows(connection: Connection) -> list[TokenRow]:
    return [_token(row) for row in connection.execute(statements.ALL_TOKENS)]


def _token(row: tuple[Any, ...]) -> TokenRow:
    found = TokenRow(*row)
    capabilities = None if row[-1] is None else tuple(jsonio.decode(row[-1]))
    return found._replace(scopes=tuple(jsonio.decode(row[3])), capabilities=capabilities)

"""Tokens in the ledger: read and written without SQLAlchemy, since a server looks every second and a command starts in 65 ms.

Writing is core's (`aorch/govern/access_tokens.py`). The table is `Token` in contract.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.ledger import statements
from aorch.ledger.database import Connection, Database


class TokenRow(NamedTuple):
    """A token's row: `sha256` of it in hex, never itself; times RFC 3339 text."""

    token_id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    agent_id: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None

    def as_dict(self) -> dict[str, Any]:
        """Its JSON form, without the hash."""
        return {name: value for name, value in self._asdict().items() if name != "sha256"}


def read(path: Path) -> list[TokenRow]:
    """Every token of the ledger at `path`, oldest first, whether it can still be used or not; none where no file is.

    Raises LedgerError.
    """
    with Database(path) as database:
        if not database.exists():
            return []
        with database.read() as connection:
            return _rows(connection)


@contextmanager
def writing(path: Path) -> Iterator["Tokens"]:
    """The tokens of the ledger at `path`, under its write lock; committed at the end of the block. Raises LedgerError."""
    with Database(path) as database, database.write() as connection:
        yield Tokens(connection)


class Tokens:
    """What may be done under the lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self) -> list[TokenRow]:
        """Every token, oldest first."""
        return _rows(self._connection)

    def add(self, row: TokenRow) -> None:
        """Write `row`."""
        self._connection.execute(statements.INSERT_TOKEN, (*row[:3], jsonio.encode(row.scopes), *row[4:]))

    def revoke(self, token_id: str, moment: str) -> None:
        """Let that token be of no use from `moment` on; one that was revoked before stays as it is."""
        self._connection.execute(statements.REVOKE_TOKEN, (moment, token_id))


def _rows(connection: Connection) -> list[TokenRow]:
    return [
        TokenRow(token_id, name, sha256, tuple(jsonio.decode(scopes)), *others)
        for token_id, name, sha256, scopes, *others in connection.execute(statements.ALL_TOKENS)
    ]

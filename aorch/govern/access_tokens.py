"""Tokens: made, listed, revoked. What a token lets its caller do is for `aorch/server/authentication.py` to see to."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from aorch import jsonio
from aorch.clock import now, rfc3339
from aorch.errors import Conflict, NotFound, UsageError
from aorch.ids import new_id
from aorch.ledger import token_store
from aorch.ledger.record import ORCHESTRATOR
from aorch.ledger.token_store import TokenRow

SCOPES = ("read", "run", "agents", "admin")
"""What a token may allow: to read the ledger, to have tasks done, to change agents, and everything."""
DEFAULT_SCOPES = ("read", "run")
PREFIX = "aorch_"
"""So that a token is known for one where it has leaked to."""
BYTES = 32
LONGEST_NAME = 100


def create(
    ledger: Path,
    name: str,
    scopes: Iterable[str] = DEFAULT_SCOPES,
    agent_id: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[str, TokenRow]:
    """A new token, durable, with its row. The token itself is nowhere but in this answer.

    `agent_id` binds it: it speaks for that agent, and nobody without such a token does. Raises UsageError, Conflict where
    a token of that name can still be used, and LedgerError.
    """
    check_name(name)
    check_agent(agent_id)
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise UsageError(f"{rfc3339(expires_at)} is past", "Name a moment to come.")
    token = PREFIX + secrets.token_urlsafe(BYTES)
    row = TokenRow(
        token_id=new_id(),
        name=name,
        sha256=digest(token).hex(),
        scopes=check_scopes(scopes),
        agent_id=agent_id,
        created_at=now(),
        expires_at=None if expires_at is None else rfc3339(expires_at),
        revoked_at=None,
    )
    with token_store.writing(ledger) as written:
        if any(other.name == name and state(other) == "valid" for other in written.rows()):
            raise Conflict(f"there is a token called {name!r}", f"Revoke it first: aorch tokens revoke '{name}'")
        written.add(row)
    return token, row


def list_(ledger: Path) -> list[TokenRow]:
    """Every token that was ever made, oldest first. Raises LedgerError."""
    return token_store.read(ledger)


def revoke(ledger: Path, reference: str) -> list[TokenRow]:
    """Revoke the token of that id, or all of that name; they are of no use to a running server within a second.

    `reference` may be the token itself, such as one that leaked. Returns them, those that were revoked before among them.
    Raises NotFound and LedgerError.
    """
    if not _named(token_store.read(ledger), reference):
        shown = "that" if reference.startswith(PREFIX) else repr(reference)
        raise NotFound(f"no token's id or name is {shown}", "See `aorch tokens list`.")
    with token_store.writing(ledger) as written:
        for row in _named(written.rows(), reference):
            written.revoke(row.token_id, now())
        return _named(written.rows(), reference)


def state(row: TokenRow) -> str:
    """`valid`, `expired` or `revoked`."""
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now() else "valid"


def digest(token: str) -> bytes:
    """The SHA-256 under which a token is known. No salt, no stretching: what is hashed has 256 bits of chance."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def check_name(name: str) -> None:
    """Raises UsageError where `name` is none that a person could read back."""
    if not (name and name.isprintable() and name == name.strip() and len(name) <= LONGEST_NAME):
        raise UsageError(f"{name!r} is no name for a token", f"Take up to {LONGEST_NAME} printable characters.")


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """`scopes`, each once, in the order of SCOPES. Raises UsageError where one is not known, or none is given."""
    given = set(scopes)
    if unknown := given - set(SCOPES):
        raise UsageError(f"no such scope: {', '.join(sorted(unknown))}", f"There are {', '.join(SCOPES)}.")
    if not given:
        raise UsageError("a token needs a scope", f"There are {', '.join(SCOPES)}.")
    return tuple(scope for scope in SCOPES if scope in given)


def check_agent(agent_id: str | None) -> None:
    """Raises UsageError where `agent_id` is none that a token can be bound to."""
    if agent_id is None:
        return
    if not agent_id or jsonio.storable_text(agent_id) != agent_id:
        raise UsageError(f"{agent_id!r} is no agent's id")
    if agent_id == ORCHESTRATOR:
        raise UsageError(f"{agent_id} is whoever gives no agent's id; a token cannot be bound to it")


def _named(rows: list[TokenRow], reference: str) -> list[TokenRow]:
    exact = [row for row in rows if reference.upper() == row.token_id or digest(reference).hex() == row.sha256]
    return exact or [row for row in rows if row.name == reference]

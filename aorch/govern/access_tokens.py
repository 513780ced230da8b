"""Creates, lists and revokes API tokens. `aorch/server/authentication.py` decides what a caller with a token may do."""

import hashlib
import secrets
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime

from aorch import jsonio
from aorch.clock import now, rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Conflict, NotFound, UsageError
from aorch.ids import new_id
from aorch.ledger import token_store
from aorch.ledger.record import ORCHESTRATOR
from aorch.ledger.token_store import TokenRow

SCOPES = ("read", "run", "work", "agents", "admin")
"""The scopes of tokens: read the ledger, run tasks, execute queued tasks as a worker, change agents, or everything."""
WORK = "work"
DEFAULT_SCOPES = ("read", "run")
PREFIX = "aorch_"
"""Leaked tokens can be found by this prefix."""
BYTES = 32
LONGEST_NAME = 100


def create(
    ledger: LedgerLocation,
    name: str,
    scopes: Iterable[str] = DEFAULT_SCOPES,
    agent_id: str | None = None,
    expires_at: datetime | None = None,
    capabilities: Iterable[str] | None = None,
) -> tuple[str, TokenRow]:
    """Create a token and return it with its row. The row is durable; the token itself is not stored.

    If `agent_id` is given, only callers with this token can act as that agent. With `capabilities`, a worker may claim only tasks
    of these. Raises UsageError, Conflict if a valid token with
    that name exists, and LedgerError.
    """
    check_name(name)
    check_agent(agent_id)
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise UsageError(f"{rfc3339(expires_at)} is in the past", "Give a time in the future.")
    scopes = check_scopes(scopes)
    token = PREFIX + secrets.token_urlsafe(BYTES)
    row = TokenRow(
        token_id=new_id(),
        name=name,
        sha256=digest(token).hex(),
        scopes=scopes,
        agent_id=agent_id,
        created_at=now(),
        expires_at=None if expires_at is None else rfc3339(expires_at),
        revoked_at=None,
        capabilities=check_capabilities(capabilities, scopes),
    )
    with token_store.writing(ledger) as written:
        if any(other.name == name and state(other) == "valid" for other in written.rows()):
            raise Conflict(
                f"token {name!r} already exists", f"Revoke it first with `aorch tokens revoke {shlex.quote(name)}`."
            )
        written.add(row)
    return token, row


def list_all(ledger: LedgerLocation) -> list[TokenRow]:
    """Every token that was ever created, oldest first. Raises LedgerError."""
    return token_store.read(ledger)


def revoke(ledger: LedgerLocation, reference: str) -> list[TokenRow]:
    """Revoke the token with that ID, or all tokens with that name. A running server rejects them within a second.

    `reference` may also be the token itself, for example a leaked one. Returns these tokens, including those that were revoked
    before. Raises NotFound and LedgerError.
    """
    if not _named(token_store.read(ledger), reference):
        shown = "this token was" if reference.startswith(PREFIX) else f"token {reference!r}"
        raise NotFound(f"{shown} not found", "List the tokens with `aorch tokens list`.")
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
    """The SHA-256 that is stored for a token. It needs no salt and no stretching, because a token has 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def check_name(name: str) -> None:
    """Raise UsageError if `name` is not a valid name for a token."""
    if not (name and name.isprintable() and name == name.strip() and len(name) <= LONGEST_NAME):
        raise UsageError(f"invalid token name: {name!r}", f"Use up to {LONGEST_NAME} printable characters.")


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """`scopes` without duplicates, in the order of SCOPES. Raises UsageError if one is unknown or there is none."""
    given = set(scopes)
    if unknown := given - set(SCOPES):
        raise UsageError(f"unknown scope: {', '.join(sorted(unknown))}", f"The scopes are {', '.join(SCOPES)}.")
    if not given:
        raise UsageError("a token needs a scope", f"The scopes are {', '.join(SCOPES)}.")
    return tuple(scope for scope in SCOPES if scope in given)


def check_capabilities(capabilities: Iterable[str] | None, scopes: Iterable[str]) -> tuple[str, ...] | None:
    """`capabilities` without duplicates, sorted. Raises UsageError if they limit nothing: the token has no scope `work`."""
    if capabilities is None:
        return None
    found = tuple(sorted(set(capabilities)))
    if not all(each and jsonio.storable_text(each) == each for each in found):
        raise UsageError("invalid capability: it is empty or contains U+0000")
    if WORK not in scopes and "admin" not in scopes:
        raise UsageError(
            "the capabilities of a token limit a worker, and it lacks the scope 'work'", "Add --scope work."
        )
    return found


def check_agent(agent_id: str | None) -> None:
    """Raise UsageError if a token cannot be bound to `agent_id`."""
    if agent_id is None:
        return
    if not agent_id or jsonio.storable_text(agent_id) != agent_id:
        raise UsageError(f"invalid agent ID: {agent_id!r}")
    if agent_id == ORCHESTRATOR:
        raise UsageError(f"a token cannot be bound to {agent_id!r}, the caller of all tasks without an agent ID")


def _named(rows: list[TokenRow], reference: str) -> list[TokenRow]:
    exact = [row for row in rows if reference.upper() == row.token_id or digest(reference).hex() == row.sha256]
    return exact or [row for row in rows if row.name == reference]

"""The errors of the server and of its driver (psycopg) as those of the ledger."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import pq

from aorch.config.ledger_location import PostgresUrl
from aorch.errors import (
    LedgerBusy,
    LedgerError,
    LedgerFull,
    LedgerGone,
    LedgerInvalid,
    LedgerOutcomeUnknown,
    LedgerReadOnly,
)
from aorch.ledger.postgres.urls import url_parameters
from aorch.ledger.server_errors import ConnectionLost, OutcomeUnknown, RowRejected, ServerError

LOCK_NOT_AVAILABLE = "55P03"

_UNIQUE, _DATA = "23505", "22000"
_LOST = ("08", "57P01", "57P02", "57P03", "57P05")
"""Classes or codes of errors that end the connection: connection exceptions, and a server that shuts down or starts."""
_ENDS_CONNECTION = ("FATAL", "PANIC")
_UNTRUSTED = "untrusted"
_SAID_BEFORE_LOGIN = {
    r"certificate file|certificate verify failed|server certificate for|does not support SSL": _UNTRUSTED,
    r'role ".*" (does not exist|is not permitted to log in)': "28000",
    r'database ".*" does not exist': "3D000",
    r"session is read-only": "25006",
    r"password authentication failed|no password supplied|password is (missing|required)": "28P01",
    r"authentication failed for user|no pg_hba.conf entry": "28000",
    r"too many clients|remaining connection slots": "53300",
}
"""libpq gives no code for an error before the login, only text; in another language the error stays ConnectionLost."""


def translated_error(error: psycopg.Error, *, is_lost: bool = False) -> ServerError:
    """The ServerError for an error of psycopg; `is_lost`: the connection is broken now."""
    said = str(error).strip() or type(error).__name__
    sqlstate = error.sqlstate or ""
    if sqlstate == _UNIQUE:
        return RowRejected(said, sqlstate, error.diag.constraint_name or "")
    if is_lost or _is_of_connection(error):
        return ConnectionLost(said, sqlstate)
    if not sqlstate and isinstance(
        error, psycopg.DataError
    ):  # psycopg itself rejects a value, such as a text with U+0000
        return ServerError(said, _DATA)
    return ServerError(said, sqlstate)


def _is_of_connection(error: psycopg.Error) -> bool:
    """Whether the connection is broken after `error`. The server gives a code; libpq, if it has no connection, gives none."""
    if sqlstate := error.sqlstate:
        return sqlstate.startswith(_LOST) or error.diag.severity_nonlocalized in _ENDS_CONNECTION
    is_connected = error.pgconn is not None and error.pgconn.status == pq.ConnStatus.OK
    return isinstance(error, psycopg.OperationalError) and not is_connected


@contextmanager
def translated(location: PostgresUrl) -> Iterator[None]:
    """Raise ServerError as LedgerError with the location, the reason and the next step."""
    try:
        yield
    except ServerError as error:
        raise as_ledger_error(location, error) from error


def as_ledger_error(location: PostgresUrl, error: ServerError) -> LedgerError:
    """The LedgerError for `error`."""
    state, said = error.sqlstate, " ".join(str(error).split())
    if isinstance(error, ConnectionLost) and not state:
        state = next((code for text, code in _SAID_BEFORE_LOGIN.items() if re.search(text, said)), "")
    if isinstance(error, OutcomeUnknown):
        return _unknown(location, said)
    if state in (LOCK_NOT_AVAILABLE, "57014", "40P01"):
        return LedgerBusy(f"the ledger {location} is locked by another process", "Try again when it has finished.")
    if state in ("53100", "53200"):
        return LedgerFull(f"the server of the ledger {location} is full: {said}", "Make room, then try again.")
    if state == "25006":
        return _only_replicas(location)
    if state == "42501":
        return LedgerReadOnly(
            f"the ledger {location} denies this user the permission: {said}", "Let the owner of the database grant it."
        )
    if (failure := _before_login(location, state, said)) is not None:
        return failure
    if isinstance(error, ConnectionLost):
        return LedgerGone(
            f"cannot reach the server of the ledger {location}: {said}", "Check that the server runs, and try again."
        )
    return LedgerError(f"the ledger {location} failed: {said} ({state or type(error).__name__})")


def _before_login(location: PostgresUrl, state: str, said: str) -> LedgerError | None:
    """The LedgerError for a server that was reached, but does not let this process in."""
    if state == "3D000":
        return LedgerInvalid(f"the database of the ledger {location} does not exist", "Create it with `createdb`.")
    if state.startswith("28"):
        return LedgerError(
            f"the server of the ledger {location} rejects the login: {said}",
            "Put the password in ~/.pgpass, in a service file, or in the environment variable PGPASSWORD.",
        )
    if state == _UNTRUSTED:
        return LedgerError(
            f"no secure connection to the server of the ledger {location}: {said}",
            "Correct the parameters of the URL whose names begin with `ssl`.",
        )
    if state == "53300":
        return LedgerBusy(f"the server of the ledger {location} has no free connection: {said}", "Try again later.")
    return None


def _unknown(location: PostgresUrl, said: str) -> LedgerError:
    """The LedgerError for a commit without an answer."""
    return LedgerOutcomeUnknown(
        f"the connection to the ledger {location} broke during a commit, so it is unknown whether it was written: {said}",
        "Look in the ledger before you write it again. A task with an Idempotency-Key can be sent again with the same key.",
    )


def _only_replicas(location: PostgresUrl) -> LedgerError:
    """The LedgerError for servers that do not accept writes: in a cluster, one of them may soon be the new primary."""
    if "," in url_parameters(location).get("host", ""):
        return LedgerGone(
            f"none of the servers of the ledger {location} accepts writes now",
            "Try again in some seconds: the cluster may be choosing a new primary server. The URL must name all servers.",
        )
    return LedgerReadOnly(
        f"cannot open the ledger {location} for writing: the server is a read-only replica",
        "Name the primary server, or name all servers of the cluster in the URL: postgresql://HOST1,HOST2/DATABASE.",
    )

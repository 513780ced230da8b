"""Where a ledger is: the path of an SQLite file, or the URL of a PostgreSQL database."""

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from aorch.errors import UsageError

_URL = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_OTHER_URL = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)
"""Also what `str` makes of `Path("postgresql://host/db")`, which has one slash less."""
_USER = re.compile(r"^[^:]*://([^@/]*)@")
"""What stands before the host: user, or user and password. libpq ends it at the first `@` or `/`, whatever else it contains."""
SECRET_PARAMETERS = {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
"""Parameters of libpq whose values are secrets."""


class PostgresUrl(NamedTuple):
    """The URL of a PostgreSQL database, as libpq accepts it (several hosts, `?service=NAME`). It contains no password."""

    url: str

    def __str__(self) -> str:
        return self.url


LedgerLocation = Path | PostgresUrl
"""The location of a ledger."""


def is_postgres_url(text: str) -> bool:
    """Whether `text` is the URL of a PostgreSQL database rather than the name of a file."""
    return _URL.match(text) is not None


def postgres_url(text: str, what: str) -> PostgresUrl:
    """The location for the URL `text`. Raises UsageError, which names `what` (an option or a key), if it contains a password.

    Process lists, shell histories and messages show a URL, so a password must come another way.
    """
    user = _USER.match(text)
    names = {unquote(each.partition("=")[0]).strip().lower() for each in re.split("[?&]", text)[1:]}
    if (user and ":" in user[1]) or names & SECRET_PARAMETERS:
        raise contains_password(what)
    return PostgresUrl(text)


def reject_other_url(text: str, what: str) -> None:
    """Raise UsageError, which names `what` (an option or a key), if `text` looks like a URL: it would name a file in a new
    directory `SCHEME:`.
    """
    if (found := _OTHER_URL.match(text)) is None:
        return
    if _URL.match(f"{found[0]}/"):
        raise UsageError(
            f"{what}: {text!r} lacks a slash of the URL, as a Path of it does: pass the URL as a string",
            "Write postgresql://HOST/DATABASE.",
        )
    hint = f"Name a file (./{text} if that is its name), or a database as postgresql://HOST/DATABASE."
    if found[1].lower() in ("http", "https"):
        hint = "Choose a server with --server or AORCH_URL instead."
    raise UsageError(f"{what}: {text!r} is neither a file nor the URL of a PostgreSQL database", hint)


def contains_password(what: str) -> UsageError:
    """The error for a URL with a password, which `what` (an option or a key) sets."""
    return UsageError(
        f"{what}: the URL of the ledger contains a password",
        "Remove it from the URL, and put it in ~/.pgpass, in a service file, or in the environment variable PGPASSWORD.",
    )

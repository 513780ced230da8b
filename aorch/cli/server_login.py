"""Logs in to a server: asks for a token, checks it, and stores it."""

import asyncio
import sys
from pathlib import Path

from aorch.cli.ledger_source import warn_of_version
from aorch.cli.streams import is_terminal
from aorch.client.server_account import Account, account_of
from aorch.client.server_address import ServerAddress, server_url
from aorch.config import environment, server_logins
from aorch.errors import UsageError


def log_in(
    url: str, profile: str | None, ca_file: str | None, proxy: str, *, allow_http: bool
) -> tuple[Account, str, str]:
    """Ask for the token of the server at `url`, check it, and store it. Returns the account, where the token is stored, and the
    name of the login. Raises UsageError, NotAuthorised and the errors of a ServerConnection.
    """
    given = server_url("URL", url)
    name = profile or given.partition("://")[2]
    if "://" in name or not name.strip() or not name.isprintable():
        raise UsageError(f"--profile: {name!r} is not a name", "Give a short name without ://.")
    certificates = None if ca_file is None else Path(ca_file).absolute()
    address = ServerAddress(given, "", certificates, proxy, allow_http)
    account = asyncio.run(account_of(address))
    warn_of_version(account.version)
    token = ""
    if account.token_required:
        ServerAddress(given, "unknown", certificates, proxy, allow_http).check()  # before anyone types a token
        token = _read_token(given)
        account = asyncio.run(account_of(ServerAddress(given, token, certificates, proxy, allow_http)))
        account.check()
    login = server_logins.Login(name, given, token, ca_file=str(certificates or ""), proxy=proxy, allow_http=allow_http)
    return account, server_logins.store(login), name


def _read_token(url: str) -> str:
    if is_terminal(sys.stdin):
        from getpass import getpass

        try:
            token = getpass(f"Token for {url}: ")
        except EOFError:
            token = ""
    else:
        token = "" if sys.stdin is None else sys.stdin.readline()
    token = token.strip()
    if not token:
        raise UsageError(
            "the token is empty", "Create one with `aorch tokens create NAME` on the server, and type or pipe it."
        )
    if not environment.fits_header(token):
        raise UsageError("the token contains characters that no token has", "Give the token alone, without quotes.")
    return token

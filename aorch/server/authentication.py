"""Authentication: `Authorization: Bearer TOKEN` (RFC 6750), checked against the token file and the ledger's tokens.

If any token exists, callers need one. If none exists, a loopback address is open, and the server does not start on any other
address without `--insecure`. Once a server has required tokens, it requires them until it stops, even after the last one is
revoked.

Timing attacks: the lookup key is the SHA-256 of the token. The time of a lookup may depend on that hash, but a caller cannot
choose a token by its hash, so the time reveals nothing about valid tokens.
"""

import asyncio
import ipaddress
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from aiohttp import hdrs, web

from aorch.clock import from_rfc3339
from aorch.config import config_file
from aorch.config.settings import Config
from aorch.errors import AorchError, ConfigInvalid, Forbidden, NotAuthorised, UsageError
from aorch.govern.access_tokens import (
    DEFAULT_SCOPES,
    SCOPES,
    check_agent,
    check_capabilities,
    check_name,
    check_scopes,
    digest,
)
from aorch.ledger import token_store
from aorch.ledger.reader_pool import Readers
from aorch.ledger.token_store import TokenRow
from aorch.server.problems import HttpError

STALE_AFTER_S = 1.0
"""Maximum age of the known tokens (seconds)."""
REFRESH_AFTER_S = 0.5
"""From this age on, the tokens are read again in the background, so that under load no request waits for it."""
MIN_TOKEN_LENGTH = 16
"""Minimum length of a token in a token file. A shorter one could be guessed."""
HINT = "Send the header `Authorization: Bearer TOKEN` with a valid token."
PUBLIC = "none"
"""The scope of a route that needs no token."""
READ = "read"
"""The scope of routes that return the content of contracts."""

AGENTS = "agents"
"""The scope of routes that change agents."""
WORK = "work"
"""The scope of routes for workers over HTTP."""
ADMIN = "admin"
"""The scope that includes all others."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, as its token identifies it. Without a token, `caller_id` and `name` are empty.

    `caller_id` stays the same for the lifetime of the token. `agent_id` is the agent that the token is bound to, and
    `capabilities` are those whose tasks a worker may claim with it (None: any). `stamp` is stored in the metadata of contracts.
    `expires_at` is in seconds since 1970.
    """

    caller_id: str
    name: str
    scopes: frozenset[str]
    agent_id: str | None = None
    expires_at: float = inf
    stamp: dict[str, str] = field(default_factory=dict)
    capabilities: frozenset[str] | None = None

    @property
    def reads(self) -> bool:
        """Whether the caller may see the content of contracts."""
        return READ in self.scopes


Callers = dict[bytes, Caller]
"""Callers by the SHA-256 of their tokens."""

_ALL_SCOPES = frozenset({PUBLIC, *SCOPES})
ANONYMOUS = Caller("", "", _ALL_SCOPES)


class Authenticator:
    """Identifies callers of the server that listens at `address`. `closed`: callers need a token, even if no token exists.

    `on_close` is called when the first token closes a server that was open. Raises UsageError if the address is not loopback,
    no token exists and `insecure` is not set, ConfigInvalid for an invalid token file, and LedgerError.
    """

    def __init__(self, config: Config, address: str, *, insecure: bool = False, closed: bool = False) -> None:
        self.on_close: Callable[[], None] | None = None
        self._ledger = config.ledger
        self._file_callers = _read_token_file(config)
        self._refreshing: asyncio.Task[None] | None = None
        self.open = may_be_open = insecure or is_loopback(address)
        found = self._read()
        self._revoked = found[1]
        self._store(*found, time.perf_counter())
        if closed:
            self.close()
        elif not (may_be_open or self._callers):
            raise UsageError(
                f"other machines can reach {config.serve.host}, and no token exists",
                "Create one with `aorch tokens create NAME`, pass --token-file, or pass --insecure to accept every request.",
            )

    def close(self) -> None:
        """Require a token from every caller from now on."""
        if self.open:
            self.open = False
            if self.on_close is not None:
                self.on_close()

    async def refresh(self, readers: Readers, *, wait: bool = False) -> None:
        """Read the ledger's tokens again. Due once `time.perf_counter()` has passed `refresh_at`.

        The change feed would not save reads: under load there are always commits, and without requests nothing is read.
        Waits for the result if the known tokens are stale, or with `wait`. Raises LedgerError.
        """
        if self._refreshing is None:
            self.refresh_at = self._read_at + STALE_AFTER_S
            self._refreshing = asyncio.create_task(self._refresh(readers))
            self._refreshing.add_done_callback(self._refreshed)
        if wait or time.perf_counter() - self._read_at >= STALE_AFTER_S:
            await asyncio.shield(self._refreshing)

    def authenticate(self, request: web.Request, scope: str) -> Caller:
        """Return the caller of `request` to a route of that scope. Raises HttpError: 401, or 403 if the scope is missing."""
        if self.open or scope == PUBLIC:
            return ANONYMOUS
        caller = self._identify(request)
        if scope not in caller.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            hint = f"Send a token that has the scope {scope!r}."
            raise _rejected(Forbidden, f"the token lacks the scope {scope!r}", challenge, hint)
        return caller

    def find(self, request: web.Request) -> Caller | None:
        """Return the caller to whom the token in `request` belongs; None without a valid token."""
        try:
            return self._identify(request)
        except HttpError:
            return None

    def is_valid(self, request: web.Request, scope: str) -> bool:
        """Whether `authenticate` accepts the caller."""
        try:
            self.authenticate(request, scope)
        except HttpError:
            return False
        return True

    def _identify(self, request: web.Request) -> Caller:
        sent = request.headers.get(hdrs.AUTHORIZATION)
        if sent is None or sent[:7].lower() != "bearer ":
            raise _rejected(NotAuthorised, "this endpoint needs a token", "Bearer")
        caller = self._callers.get(digest(sent[7:].strip()))
        if caller is None:
            raise _rejected(NotAuthorised, "the token is unknown or revoked", 'Bearer error="invalid_token"')
        if caller.expires_at <= time.time():
            raise _rejected(NotAuthorised, "the token has expired", 'Bearer error="invalid_token"')
        return caller

    def _read(self) -> tuple[Callers, int]:
        """Return the callers of the file and the ledger, and the number of revoked tokens. Expired tokens are included."""
        rows = token_store.read(self._ledger)
        of_ledger = {bytes.fromhex(row.sha256): _from_row(row) for row in rows if not row.revoked_at}
        return of_ledger | self._file_callers, len(rows) - len(of_ledger)

    async def _refresh(self, readers: Readers) -> None:
        started = time.perf_counter()
        self._store(*await readers.read(lambda _: self._read()), started)

    def _refreshed(self, refreshing: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not refreshing.cancelled():
            refreshing.exception()  # a waiting request gets the error; otherwise the next request reads again

    def _store(self, callers: Callers, revoked: int, moment: float) -> None:
        self._callers = callers
        self.bound_agents = frozenset(caller.agent_id for caller in callers.values() if caller.agent_id is not None)
        if callers or revoked > self._revoked:  # a token may have been created and revoked since the last read
            self.close()
        self._read_at = moment
        self.refresh_at = moment + REFRESH_AFTER_S


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach that address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _rejected(kind: type[AorchError], message: str, challenge: str, hint: str = HINT) -> HttpError:
    return HttpError(kind.http_status, kind.code, message, hint, WWW_Authenticate=challenge)


def _from_row(row: TokenRow) -> Caller:
    expires_at = from_rfc3339(row.expires_at).timestamp() if row.expires_at else inf
    capabilities = None if row.capabilities is None else frozenset(row.capabilities)
    return replace(_caller(row.token_id, row.name, row.scopes, row.agent_id, expires_at), capabilities=capabilities)


def _caller(
    caller_id: str, name: str, scopes: tuple[str, ...], agent_id: str | None = None, expires_at: float = inf
) -> Caller:
    allowed = _ALL_SCOPES if ADMIN in scopes else frozenset({PUBLIC, *scopes})
    return Caller(caller_id, name, allowed, agent_id, expires_at, {"id": caller_id, "name": name})


# The token file

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
_OTHERS = stat.S_IWGRP | stat.S_IRWXO


def _read_token_file(config: Config) -> Callers:
    if config.serve.token_file is None:
        return {}
    path = config_file.absolute(
        config.serve.token_file, "serve.token_file", config.file.parent if config.file else None
    )
    found: Callers = {}
    for number, line in enumerate(_lines(path), 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                token, caller = _parse_line(words, f"line {number}")
                if digest(token) in found or any(caller.name == other.name for other in found.values()):
                    raise UsageError("an earlier line has the same token or the same name")
            except UsageError as error:
                raise ConfigInvalid(f"{path}, line {number}: {error}", error.hint) from error
            found[digest(token)] = caller
    if not found:
        raise ConfigInvalid(f"the token file {path} contains no token", "Write one token per line.")
    return found


def _parse_line(words: list[str], name: str) -> tuple[str, Caller]:
    """Parse `TOKEN [SCOPE,SCOPE…] [agent=ID] [name=NAME] [capabilities=NAME,NAME…]`.

    Raises UsageError, whose message never contains the token.
    """
    token, agent_id, capabilities = words[0], None, None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    if not (_TOKEN.fullmatch(token) and len(token) >= MIN_TOKEN_LENGTH):
        raise UsageError(
            f"invalid token (expected {MIN_TOKEN_LENGTH} or more letters, digits and ._~+/-)",
            "Create one with `openssl rand -hex 32`.",
        )
    for word in words[1:]:
        key, is_pair, value = word.partition("=")
        if not is_pair:
            scopes = check_scopes(word.split(","))
        elif key == "agent":
            check_agent(agent_id := value)
        elif key == "name":
            check_name(name := value)
        elif key == "capabilities":
            capabilities = value.split(",")
        else:
            raise UsageError(f"unknown key {key!r}", "Write a line as: TOKEN read,run agent=ID name=NAME")
    checked = check_capabilities(capabilities, scopes)
    caller = _caller(f"file:{name}", name, scopes, agent_id)
    return token, replace(caller, capabilities=None if checked is None else frozenset(checked))


def _lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                raise ConfigInvalid(f"other users can read or change the token file {path}", f"Run: chmod 600 {path}")
            return file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigInvalid(f"cannot read the token file {path}: {reason}", "Check --token-file.") from error

"""Who calls, and what they may do: `Authorization: Bearer` (RFC 6750) against the token file and the ledger's tokens.

One rule: where there are tokens, one is needed. Where there are none, a loopback address is open, and any other is refused
at the start unless `--insecure` opens it. A server that once needed tokens needs them until it ends, also when the last of
them is revoked.

Comparing in constant time: what is looked up is the SHA-256 of what was sent. How long that takes may depend on the hash,
but nobody can choose a token by its hash, so the time says nothing about any token that is in force.
"""

import asyncio
import ipaddress
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from aiohttp import hdrs, web

from aorch.clock import from_rfc3339
from aorch.config import config_file
from aorch.config.settings import Config
from aorch.errors import AorchError, ConfigInvalid, Forbidden, NotAuthorised, UsageError
from aorch.govern.access_tokens import DEFAULT_SCOPES, SCOPES, check_agent, check_name, check_scopes, digest
from aorch.ledger import token_store
from aorch.ledger.reader_pool import Readers
from aorch.ledger.token_store import TokenRow
from aorch.server.problems import Refusal
from aorch.server.request_context import CALL, services_of

STALE_AFTER_S = 1.0
"""What is known of the ledger's tokens is never older."""
LOOK_AFTER_S = 0.5
"""From then on they are looked up beside the requests, so that under load none waits for it."""
SHORTEST = 16
"""Characters of a token in a file: a shorter one could be guessed."""
HINT = "Send `Authorization: Bearer TOKEN`; `aorch tokens create` makes one."
PUBLIC = "none"
"""The scope of a route that needs no token."""
READ = "read"
"""The scope of routes that tell what contracts hold."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `caller_id` stays the same as long as the token does; it and `name` are empty where none was needed.

    `agent_id` is the agent that the token speaks for; `stamp` is what stands in a contract's metadata; `expires_at` is in
    seconds since 1970.
    """

    caller_id: str
    name: str
    scopes: frozenset[str]
    agent_id: str | None = None
    expires_at: float = inf
    stamp: dict[str, str] = field(default_factory=dict)

    @property
    def reads(self) -> bool:
        """Whether it may be told what contracts hold."""
        return READ in self.scopes


Callers = dict[bytes, Caller]
"""By the SHA-256 of their tokens."""

_EVERYTHING = frozenset({PUBLIC, *SCOPES})
ANONYMOUS = Caller("", "", _EVERYTHING)


class Access:
    """Who is let in at `address`, where the server listens. `closed`: callers need a token, even if there is none.

    `on_close` is called when the first token closes what was open until then.
    Raises UsageError where that would be anybody from elsewhere, ConfigInvalid for a token file that cannot be used, and
    LedgerError.
    """

    def __init__(self, config: Config, address: str, *, insecure: bool = False, closed: bool = False) -> None:
        self.on_close: Callable[[], None] | None = None
        self._ledger = config.ledger
        self._of_file = _read_file(config)
        self._looking: asyncio.Task[None] | None = None
        self.open = may_be_open = insecure or is_loopback(address)
        found = self._read()
        self._revoked = found[1]
        self._take(*found, time.perf_counter())
        if closed:
            self.close()
        elif not (may_be_open or self._callers):
            raise UsageError(
                f"{config.serve.host} can be reached from elsewhere, and no token is there for callers to show",
                "Make one by `aorch tokens create NAME`, name a --token-file, or let everybody in by --insecure.",
            )

    def close(self) -> None:
        """Need a token from every caller from now on."""
        if self.open:
            self.open = False
            if self.on_close is not None:
                self.on_close()

    async def look(self, readers: Readers, *, wait: bool = False) -> None:
        """Look the ledger's tokens up again, which is due once `time.perf_counter()` is past `look_at`.

        Waits for the answer if what is known is stale, or if told to `wait`. Raises LedgerError.
        """
        if self._looking is None:
            self.look_at = self._looked + STALE_AFTER_S
            self._looking = asyncio.create_task(self._look(readers))
            self._looking.add_done_callback(self._has_looked)
        if wait or time.perf_counter() - self._looked >= STALE_AFTER_S:
            await asyncio.shield(self._looking)

    def admit(self, request: web.Request, scope: str) -> Caller:
        """Who sends `request`, to a route of that scope. Raises Refusal: 401, or 403 where the token lacks the scope."""
        if self.open or scope == PUBLIC:
            return ANONYMOUS
        sent = request.headers.get(hdrs.AUTHORIZATION)
        if sent is None or sent[:7].lower() != "bearer ":
            raise _refused(NotAuthorised, "this needs a token", "Bearer")
        caller = self._callers.get(digest(sent[7:].strip()))
        if caller is None:
            raise _refused(NotAuthorised, "the token is unknown, or was revoked", 'Bearer error="invalid_token"')
        if caller.expires_at <= time.time():
            raise _refused(NotAuthorised, "the token has expired", 'Bearer error="invalid_token"')
        if scope not in caller.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            lacks = f"the token does not allow this: it lacks the scope {scope}"
            raise _refused(Forbidden, lacks, challenge, f"`aorch tokens create` makes one with --scope {scope}.")
        return caller

    def admits(self, request: web.Request, scope: str) -> bool:
        """Whether `admit` would let the caller in."""
        try:
            self.admit(request, scope)
        except Refusal:
            return False
        return True

    def _read(self) -> tuple[Callers, int]:
        """All callers, from the file and from the ledger, and how many tokens were revoked.

        An expired token stands for as long as it is not revoked.
        """
        rows = token_store.read(self._ledger)
        of_ledger = {bytes.fromhex(row.sha256): _caller(row) for row in rows if not row.revoked_at}
        return of_ledger | self._of_file, len(rows) - len(of_ledger)

    async def _look(self, readers: Readers) -> None:
        begun = time.perf_counter()
        self._take(*await readers.read(lambda _: self._read()), begun)

    def _has_looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # told to whoever waited; where nobody did, the next request looks again

    def _take(self, callers: Callers, revoked: int, moment: float) -> None:
        self._callers = callers
        self.bound = frozenset(caller.agent_id for caller in callers.values() if caller.agent_id is not None)
        if callers or revoked > self._revoked:  # a token may have come and gone since the last look
            self.close()
        self._looked = moment
        self.look_at = moment + LOOK_AFTER_S


def speaks_as(request: web.Request, from_agent: str | None, parent_id: str | None = None) -> str | None:
    """The agent in whose name `request` is made; None where it is in nobody's.

    A caller whose token is bound to an agent speaks as that agent and no other. No other caller speaks as that agent, nor
    on behalf of a REQUEST that was made to it, whomever it names as `from_agent`. Raises Forbidden.
    """
    bound_to, bound = request[CALL].caller.agent_id, services_of(request).access.bound
    if bound_to is not None and from_agent not in (None, bound_to):
        raise Forbidden(f"this token speaks for {bound_to}, not for {from_agent}", "Leave out from_agent.")
    if bound and from_agent in bound - {bound_to}:
        raise Forbidden("only the token that is bound to this agent speaks for it", "Name another from_agent.")
    if bound and parent_id is not None and _asked_of(request, parent_id) in bound - {bound_to}:
        raise Forbidden(
            "only the token that is bound to the agent of this REQUEST asks on its behalf", "Leave out parent_id."
        )
    return bound_to or from_agent


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches that address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _asked_of(request: web.Request, parent_id: str) -> str | None:
    """The agent that this REQUEST was made to."""
    return services_of(request).orchestrator.exchanges.ledger.agent_of(parent_id)


def _refused(kind: type[AorchError], message: str, challenge: str, hint: str = HINT) -> Refusal:
    return Refusal(kind.http_status, kind.code, message, hint, WWW_Authenticate=challenge)


def _caller(row: TokenRow) -> Caller:
    expires_at = from_rfc3339(row.expires_at).timestamp() if row.expires_at else inf
    return _made(row.token_id, row.name, row.scopes, row.agent_id, expires_at)


def _made(
    caller_id: str, name: str, scopes: tuple[str, ...], agent_id: str | None = None, expires_at: float = inf
) -> Caller:
    allowed = _EVERYTHING if "admin" in scopes else frozenset({PUBLIC, *scopes})
    return Caller(caller_id, name, allowed, agent_id, expires_at, {"id": caller_id, "name": name})


# The token file

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
_OTHERS = stat.S_IWGRP | stat.S_IRWXO


def _read_file(config: Config) -> Callers:
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
                token, caller = _of_line(words, f"line {number}")
                if digest(token) in found or any(caller.name == other.name for other in found.values()):
                    raise UsageError("this token, or its name, stands further up as well")
            except UsageError as error:
                raise ConfigInvalid(f"{path}, line {number}: {error}", error.hint) from error
            found[digest(token)] = caller
    if not found:
        raise ConfigInvalid(f"the token file {path} holds no token", "Write one a line.")
    return found


def _of_line(words: list[str], name: str) -> tuple[str, Caller]:
    """`TOKEN [SCOPE,SCOPE…] [agent=ID] [name=NAME]`. Raises UsageError, which never says the token."""
    token, agent_id = words[0], None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    if not (_TOKEN.fullmatch(token) and len(token) >= SHORTEST):
        raise UsageError(
            f"this is no token: {SHORTEST} or more of the letters, digits and ._~+/-",
            "`openssl rand -hex 32` makes one.",
        )
    for word in words[1:]:
        key, is_pair, value = word.partition("=")
        if not is_pair:
            scopes = check_scopes(word.split(","))
        elif key == "agent":
            check_agent(agent_id := value)
        elif key == "name":
            check_name(name := value)
        else:
            raise UsageError(f"{key}= is not known", "A line is: TOKEN read,run agent=ID name=NAME")
    return token, _made(f"file:{name}", name, scopes, agent_id)


def _lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                raise ConfigInvalid(
                    f"the token file {path} can be read, or changed, by others", f"Run: chmod 600 {path}"
                )
            return file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"the token file {path} cannot be read: {error}") from error

"""A connection to an aorch server by HTTP: requests with retries, and streams of events.

Nothing but the configured address gets a request: no redirect is followed, and neither proxy variables nor `~/.netrc` are read.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from aorch import jsonio
from aorch.backoff import Backoff
from aorch.client.problem_errors import error_of, problem_in, redirected
from aorch.client.server_address import ServerAddress
from aorch.client.server_events import ServerEvent, events_in
from aorch.errors import (
    AgentBusy,
    ConfigInvalid,
    InvalidJSON,
    NoAgentAvailable,
    QueueFull,
    ServiceFailed,
    ServiceUnreachable,
)
from aorch.net.retry_after import retry_after_s
from aorch.version import VERSION

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""Longest silence of a server. In a stream it sends a comment every 15 s."""
RETRIES = 3
"""How often a request is sent again after a broken connection, or after 429 or 503 with `Retry-After`."""
LONGEST_PAUSE_S = 5.0
"""A server that asks for a longer pause is not waited for."""
_BACKOFF = Backoff(0.1, 2.0, (0.5, 1.5))
_TEMPORARY = frozenset({429, 503})
_ABOUT_TASK = frozenset({NoAgentAvailable.code, AgentBusy.code, QueueFull.code})
"""Codes of errors that commands report at once, as without a server: the server works."""
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

Query = Mapping[str, Any]
"""Parameters of a query; those that are None are left out, and a list is sent as several."""


class Reply(NamedTuple):
    """A response with a status below 300, and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The value of the body. Raises ServiceFailed if it is not JSON."""
        try:
            return jsonio.decode(self.body)
        except InvalidJSON as error:
            raise ServiceFailed(f"the server sent a body that is {error}", "Check the URL of the server.") from error


class EventStream:
    """The events of a stream. `replayed`: whether an earlier request with the same idempotency key has this answer."""

    def __init__(self, response: httpx.Response, address: ServerAddress) -> None:
        self.replayed = response.headers.get("Idempotency-Replayed") == "true"
        self._response = response
        self._address = address

    async def __aiter__(self) -> AsyncIterator[ServerEvent]:
        if not self._response.headers.get("Content-Type", "").startswith("text/event-stream"):
            name = "result" if self._response.status_code < 400 else "error"
            yield ServerEvent(name, (await self._response.aread()).decode("utf-8", "replace"), "")
            return
        try:
            async for event in events_in(self._response.aiter_bytes()):
                yield event
        except httpx.TransportError as error:
            raise _transport_error(self._address, error) from error


class ServerConnection:
    """Connections to one server, in one event loop, open inside an `async with` block.

    Every method raises ServiceUnreachable if the server received nothing, ServiceFailed if it may have, and for a response of 300
    or more the error that it describes: the same class as a local error. Raises UsageError when made if the token would be sent
    unencrypted to another machine, and ConfigInvalid for an invalid CA file.
    """

    def __init__(self, address: ServerAddress, *, timeout_s: float = READ_TIMEOUT_S, connections: int = 100) -> None:
        address.check()
        self.address = address
        self.server_version: str | None = None
        """The version of aorch that the server runs; None before its first response."""
        headers = {"User-Agent": "aorch", "Aorch-Version": VERSION, "Accept": "application/json"}
        if address.token:
            headers["Authorization"] = f"Bearer {address.token}"
        self._client = httpx.AsyncClient(
            base_url=address.url,
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S, pool=None),
            verify=_trusted(address),
            proxy=address.proxy or None,
            trust_env=False,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def get(self, path: str, query: Query | None = None, **options: Any) -> Any:
        """The JSON at `path`, with retries."""
        return (await self.request("GET", path, query=query, **options)).json()

    async def post(self, path: str, body: Any = None, *, key: str | None = None, **options: Any) -> Any:
        """The JSON that the server answers to `body`. With an idempotency `key`, a request whose outcome is unknown is sent
        again.
        """
        return (await self.request("POST", path, body=body, key=key, **options)).json()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        key: str | None = None,
        timeout_s: float | None = None,
        retries: int = RETRIES,
    ) -> Reply:
        """Send a request, and return its reply. `body` is sent as JSON. `timeout_s` is the longest silence of the server.

        It is sent again if the server received nothing, asks for that, or, if that is safe (GET, or a `key`), after a broken
        connection.
        """
        request = self._request(method, path, query, body, key, timeout_s)
        is_safe = method == "GET" or key is not None
        for attempt in range(1, retries + 2):
            try:
                response = await self._client.send(request)
            except httpx.TransportError as error:
                if attempt > retries or not (is_safe or isinstance(error, _NOT_SENT)):
                    raise _transport_error(self.address, error) from error
                pause_s = _BACKOFF.pause_s(attempt)
            else:
                self._note_version(response)
                self._check_redirect(response)
                if response.status_code < 400:
                    return Reply(response.status_code, response.headers, response.content)
                pause_s = _asked_pause_s(response)
                if attempt > retries or not 0 < pause_s <= LONGEST_PAUSE_S:
                    raise error_of(self.address.url, response.status_code, response.content)
            await asyncio.sleep(pause_s)
        raise AssertionError  # the last attempt returns or raises

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        key: str | None = None,
        last_event_id: str | None = None,
    ) -> AsyncIterator[EventStream]:
        """Open a stream of server-sent events. A response that is not a stream is one event: `result` with its body, or `error`
        with a problem that has the contract of a failed task.

        The stream is not resumed: after ServiceFailed, open it again, with the `id` of the last event.
        """
        request = self._request(method, path, query, body, key, None)
        request.headers["Accept"] = "text/event-stream, application/json"
        if last_event_id is not None:
            request.headers["Last-Event-ID"] = last_event_id
        try:
            response = await self._client.send(request, stream=True)
        except httpx.TransportError as error:
            raise _transport_error(self.address, error) from error
        try:
            self._note_version(response)
            await self._check(response)
            yield EventStream(response, self.address)
        except httpx.TransportError as error:
            raise _transport_error(self.address, error) from error
        finally:
            await response.aclose()

    async def _check(self, response: httpx.Response) -> None:
        """Raise the error that a response of 300 or more describes, unless it is the answer of a failed task."""
        self._check_redirect(response)
        if response.status_code < 400:
            return
        problem = problem_in(await response.aread())
        if problem is None or problem.get("timestamp") is None:
            raise error_of(self.address.url, response.status_code, response.content)

    def _check_redirect(self, response: httpx.Response) -> None:
        if 300 <= response.status_code < 400:
            raise redirected(self.address.url, response.status_code, response.headers.get("Location", ""))

    def _request(
        self, method: str, path: str, query: Query | None, body: Any, key: str | None, timeout_s: float | None
    ) -> httpx.Request:
        headers, content = {}, None
        if body is not None:
            headers["Content-Type"], content = "application/json", jsonio.encode_bytes(body)
        if key is not None:
            headers["Idempotency-Key"] = f'"{key}"'
        request = self._client.build_request(
            method, path, params=httpx.QueryParams(_params(query or {})), headers=headers, content=content
        )
        if timeout_s is not None:
            request.extensions["timeout"] = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S, pool=None).as_dict()
        return request

    def _note_version(self, response: httpx.Response) -> None:
        self.server_version = response.headers.get("Aorch-Version", self.server_version)


def _params(query: Query) -> list[tuple[str, str | int | float | bool | None]]:
    found: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in query.items():
        for each in value if isinstance(value, list | tuple) else (value,):
            if each is not None:
                found.append((name, str(each).lower() if isinstance(each, bool) else str(each)))
    return found


def _asked_pause_s(response: httpx.Response) -> float:
    """The pause after which the server asks to send the request again; 0 if it does not."""
    retry_after = response.headers.get("Retry-After")
    if retry_after is None or response.status_code not in _TEMPORARY:
        return 0.0
    if (problem_in(response.content) or {}).get("code") in _ABOUT_TASK:
        return 0.0
    return max(0.1, retry_after_s(retry_after))


def _trusted(address: ServerAddress) -> ssl.SSLContext:
    if not address.url.startswith("https://"):
        return ssl.SSLContext(
            ssl.PROTOCOL_TLS_CLIENT
        )  # trusts nothing; httpx would read all certificates, which takes 15 ms
    if address.ca_file is None:
        return ssl.create_default_context()  # the certificates of the system, not those of a package
    try:
        return ssl.create_default_context(cafile=str(address.ca_file))
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise ConfigInvalid(
            f"cannot read the CA file {address.ca_file}: {reason}", "Name a file with certificates in PEM format."
        ) from error


def _transport_error(address: ServerAddress, error: httpx.TransportError) -> ServiceUnreachable:
    reason = _reason(error)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        hint = "Check the URL, and that `aorch serve` runs there."
        if "certificate" in reason.lower():
            hint = "If the server has a certificate of your own CA, pass --ca-file to `aorch login`, or set ca_file in [remote]."
        return ServiceUnreachable(f"cannot reach the server at {address.url}: {reason}", hint)
    return ServiceFailed(
        f"the connection to the server at {address.url} broke: {reason}",
        "It may have received the request. `aorch log` shows what it recorded.",
    )


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    cause: BaseException | None = error
    while cause is not None:  # the innermost error has the reason of the system
        if isinstance(cause, ssl.SSLError):
            return str(cause)
        if isinstance(cause, OSError) and cause.strerror:  # asyncio's own text repeats the address
            return (os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror).lower()
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__

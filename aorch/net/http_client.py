"""The HTTP client of aorch: every request to another service goes through it.

It reads nothing from the environment (no proxy variables, no `~/.netrc`), follows no redirects, and keeps no cookies: a
request goes only to the configured address.
"""

import io
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from aorch.net.addresses import is_loopback
from aorch.net.fast_post import LARGE, FastExchange, FastPost
from aorch.net.outbound import OWNER, AddressPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from aiohttp.client import _RequestContextManager
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

IN_PARTS = 2**20
"""aiohttp sends files of this size or more in parts."""


class HttpClient:
    """A client with these timeouts (seconds; 0: none), in the running loop, until `close`.

    `proxy` is the address of an HTTP proxy; requests to this machine do not use it. `keep_connections`: whether a
    connection can serve several requests. `addresses` are those to which it may connect without the proxy; for the others
    it is the proxy's task to check them.
    """

    def __init__(
        self,
        timeout_s: float,
        connect_timeout_s: float | None = None,
        *,
        headers: "Mapping[str, str] | None" = None,
        proxy: str = "",
        keep_connections: bool = True,
        addresses: AddressPolicy = OWNER,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._proxy = proxy or None
        self._timeout = self._limits(timeout_s)

        def session(allowed: AddressPolicy) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=_Connector(limit=0, force_close=not keep_connections, socket_factory=_sockets(allowed)),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                headers={"User-Agent": "aorch", **(headers or {})},
                trust_env=False,
            )

        self._posts: dict[str, FastPost | None] = {}
        self._direct = session(addresses)
        self._by_proxy = session(OWNER) if proxy else None

    async def close(self) -> None:
        """Close all connections."""
        await self._direct.close()
        if self._by_proxy is not None:
            await self._by_proxy.close()

    def request(
        self, method: str, url: str | URL, *, timeout_s: float | None = None, **content: Any
    ) -> "_RequestContextManager":
        """Send one request; `async with` gives its answer. `content` is aiohttp's `data`, `json` and `headers`.

        Raises aiohttp's errors: TimeoutError, aiohttp.ClientError, OSError, and ValueError for an invalid address.
        """
        if timeout_s is not None:
            content["timeout"] = self._limits(timeout_s)
        if self._by_proxy is None or is_loopback(str(url)):
            return self._direct.request(method, url, allow_redirects=False, **content)
        return self._by_proxy.request(method, url, allow_redirects=False, proxy=self._proxy, **content)

    def post(
        self, url: str, body: bytes, headers: "Mapping[str, str]"
    ) -> "AbstractAsyncContextManager[aiohttp.ClientResponse | FastExchange]":
        """Like `request`, for one of many requests to the same address, which are sent with less work."""
        if len(body) < LARGE:
            try:
                post = self._posts[url]
            except KeyError:
                is_direct = self._by_proxy is None or is_loopback(url)
                post = self._posts[url] = FastPost.of(self._direct, url, self._timeout) if is_direct else None
            if post is not None:
                return post.send(body, headers)
        return self.request("POST", url, data=body if len(body) < IN_PARTS else io.BytesIO(body), headers=headers)

    def _limits(self, timeout_s: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=timeout_s, sock_connect=self._connect_timeout_s)


class _Connector(aiohttp.TCPConnector):
    """A connector that uses no connection on which a server sent an answer without a request: the next one would get it."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> "Connection":
        """A connection for `req`, which was used before if possible."""
        connection = await super().connect(req, traces, timeout)
        while connection.protocol is not None and len(connection.protocol):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        return connection


def _sockets(addresses: AddressPolicy) -> "Callable[[aiohttp.AddrInfoType], socket.socket]":
    """A factory of sockets for addresses that were resolved. Raises AddressRefused for one that is not allowed."""

    def make(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        addresses.check(str(address[0]))
        return socket.socket(family, kind, protocol)

    return make


async def read_limited(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The body of `response`, or None if it is longer than `limit` bytes. Raises aiohttp's errors."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)

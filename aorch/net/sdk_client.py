"""The HTTP client for the packages of vendors (openai, anthropic, mcp), which take a client of httpx or httpx2.

Like `http_client.py` it reads nothing from the environment, follows no redirects, and connects only to allowed addresses.
"""

import asyncio
import socket
from types import ModuleType
from typing import Any

from aorch.net.outbound import OWNER, AddressPolicy, AddressRefused


def sdk_client(
    httpx: ModuleType, timeout_s: float | None, *, proxy: str = "", addresses: AddressPolicy = OWNER, **options: Any
) -> Any:
    """An `AsyncClient` of `httpx` (the module httpx or httpx2) with that timeout per read (None: no limit).

    `proxy` is the address of an HTTP proxy; requests to this machine do not use it. `addresses` are those to which it may
    connect; with a proxy, it is the proxy's task to check them. `options` are other arguments of `AsyncClient`, such as
    `headers`.
    """
    direct = _guarded(httpx, addresses)
    mounts = {}
    if proxy:
        through = httpx.AsyncHTTPTransport(trust_env=False, proxy=proxy)
        mounts = {"all://": through, **dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]"), direct)}
    return httpx.AsyncClient(
        transport=direct, mounts=mounts, timeout=timeout_s, trust_env=False, follow_redirects=False, **options
    )


def _guarded(httpx: ModuleType, addresses: AddressPolicy) -> Any:
    class Guarded(httpx.AsyncBaseTransport):  # type: ignore[misc, name-defined]  # httpx or httpx2
        """Resolves the host, and sends the request to the first allowed address that accepts the connection."""

        def __init__(self) -> None:
            self._transport = httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits())

        async def handle_async_request(self, request: Any) -> Any:
            url, found, refusal = request.url, await _resolved(httpx, request), None
            request.extensions = {**request.extensions, "sni_hostname": url.host}
            for position, address in enumerate(found):
                try:
                    addresses.check(address)
                except AddressRefused as refused:
                    refusal = refused
                    continue
                request.url = url.copy_with(host=address)
                try:
                    return await self._transport.handle_async_request(request)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if position == len(found) - 1:
                        raise
                finally:
                    request.url = url
            raise httpx.ConnectError(str(refusal), request=request) from refusal

        async def aclose(self) -> None:
            await self._transport.aclose()

    return Guarded()


async def _resolved(httpx: ModuleType, request: Any) -> list[str]:
    """The addresses of the request's host. Raises httpx.ConnectError."""
    loop, url = asyncio.get_running_loop(), request.url
    try:
        found = await loop.getaddrinfo(url.host, url.port or 0, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError(str(error), request=request) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))

"""Checking whether a service listens at its address."""

import asyncio
import os
import socket
from urllib.parse import urlsplit

from aorch.net.outbound import OWNER, AddressPolicy, AddressRefused

CONNECT_TIMEOUT_S = 1.0


async def listening(url: str) -> bool:
    """Whether `url` accepts a connection within CONNECT_TIMEOUT_S.

    No request is sent: after two requests in flight at once, even reads, Trace answers every request wrongly, and its
    health check reports healthy even if its backend is dead.
    """
    return await connection_problem(url, CONNECT_TIMEOUT_S) is None


async def connection_problem(url: str, timeout_s: float, addresses: AddressPolicy = OWNER) -> str | None:
    """Why `url` accepts no connection, such as `Connection refused`; None if it does. No request is sent.

    `addresses` are those to which it may connect.
    """
    parts, loop, reason = urlsplit(url), asyncio.get_running_loop(), None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
            for address in dict.fromkeys(str(each[4][0]) for each in found):
                reason = await _problem_of(address, port, addresses)
                if reason is None:
                    return None
    except TimeoutError:
        return f"no connection within {timeout_s:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return reason


async def _problem_of(address: str, port: int, addresses: AddressPolicy) -> str | None:
    try:
        addresses.check(address)
        _, writer = await asyncio.open_connection(address, port)
    except AddressRefused as refused:
        return str(refused)
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    writer.close()
    return None

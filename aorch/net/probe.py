"""Checking whether a service listens at its address."""

import asyncio
import os
import socket
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 1.0


async def listening(url: str) -> bool:
    """Whether `url` accepts a connection within CONNECT_TIMEOUT_S.

    No request is sent: after two requests in flight at once, even reads, Trace answers every request wrongly, and its
    health check reports healthy even if its backend is dead.
    """
    return await connection_problem(url, CONNECT_TIMEOUT_S) is None


async def connection_problem(url: str, timeout_s: float) -> str | None:
    """Why `url` accepts no connection, such as `Connection refused`; None if it does. No request is sent."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except TimeoutError:
        return f"no connection within {timeout_s:g} s"
    except socket.gaierror as error:
        return str(error.strerror)
    except OSError as error:  # without a number: several addresses failed
        return os.strerror(error.errno) if error.errno else "no address accepts a connection"
    writer.close()
    return None

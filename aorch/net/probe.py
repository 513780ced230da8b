"""Checking whether a service listens at its address."""

import asyncio
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 1.0


async def listening(url: str) -> bool:
    """Whether `url` accepts a connection within CONNECT_TIMEOUT_S.

    No request is sent: after two requests in flight at once, even reads, Trace answers every request wrongly, and its
    health check reports healthy even if its backend is dead.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True

"""Whether something listens at a service's address."""

import asyncio
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 1.0


async def listening(url: str) -> bool:
    """Whether a connection to `url` is taken within CONNECT_TIMEOUT_S.

    No request is sent: Trace answers wrongly for good once two requests are in flight, reads included, and its health
    says healthy even when its backend is dead.
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

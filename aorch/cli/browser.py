"""Finds the user's browser, and the server that already shows it."""

import asyncio
from collections.abc import Callable

from aorch import jsonio
from aorch.config.settings import Config
from aorch.errors import InvalidJSON

UNAUTHORIZED = 401
ANSWER_S = 2.0
"""How long a server may take to say which ledger it has."""
LARGEST_ANSWER = 1_000_000
"""Bytes. A longer answer is not that of an aorch server."""
_IN_TERMINAL = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})
"""Browsers that would take over the terminal, and that execute no JavaScript."""
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  the address of a server that listens on all


def running_server(config: Config) -> tuple[str, bool] | None:
    """Return the URL of the server that the configuration names, and whether it needs a token; None if none runs there.

    A server over another ledger does not count. One that needs a token does not say which ledger it has; it counts.
    """
    host, port = _ANY_ADDRESS.get(config.serve.host, config.serve.host), config.serve.port
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    status = asyncio.run(_status_of(url, str(config.ledger)))
    return None if status is None else (url, status == UNAUTHORIZED)


async def _status_of(url: str, ledger: str) -> int | None:
    """The HTTP status of an aorch server at `url` that has this ledger, or asks for a token; None if none answers."""
    import aiohttp

    from aorch.net.http_client import HttpClient, read_limited

    client = HttpClient(ANSWER_S)
    try:
        async with client.request("GET", f"{url}/v1/status") as response:
            said = jsonio.decode(await read_limited(response, LARGEST_ANSWER) or b"")
    except (OSError, TimeoutError, ValueError, aiohttp.ClientError, InvalidJSON):
        return None
    finally:
        await client.close()
    if not isinstance(said, dict) or response.headers.get("Server") != "aorch":
        return None
    if response.status != UNAUTHORIZED and said.get("ledger") != ledger:
        return None
    return response.status


def page_opener() -> Callable[[str], object] | None:
    """Return the function that opens a URL in the user's browser; None if there is none, or none with a window.

    Some browsers keep it waiting until they are closed.
    """
    import webbrowser

    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return None
    return None if getattr(browser, "basename", None) in _IN_TERMINAL else browser.open

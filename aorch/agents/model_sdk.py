"""What the packages `openai` and `anthropic` have in common: how they are imported and set up, and the errors they raise.

Both are made by the same generator. Each is imported only when a model is called: that takes 0.9 and 1.8 s of CPU.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from aorch.agents.model_call import (
    MOST_BYTES,
    ModelAddress,
    ModelAnswerInvalid,
    ModelAnswerTooLarge,
    ModelLost,
    ModelRejected,
    ModelUnreachable,
)
from aorch.errors import ConfigInvalid
from aorch.net.retry_after import retry_after_s
from aorch.net.sdk_client import sdk_client

CONNECT_S = 10.0
"""Time limit of a connection to a server. The time limit of the reply is that of the caller."""
NO_KEY = "none"
"""The key that the packages get if there is none. They want one; `_own_headers` removes it."""
MOST_SAID = 200
"""Characters of a server's error message that are shown."""

_SENT = frozenset(("accept", "anthropic-version", "connection", "content-length", "content-type", "host"))
_KEY_HEADERS = ("authorization", "x-api-key")
_NOT_DELIVERED = frozenset(("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"))
"""Errors of httpx that occur before a request is sent."""
_STATUS_OF_TYPE = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
}
"""The HTTP status that corresponds to an error in the stream, whose response began with 200."""


def missing_package(name: str) -> str | None:
    """A sentence if the package is not installed. Does not import it."""
    return None if importlib.util.find_spec(name) is not None else f"the package `{name}` is not installed"


def install_hint(name: str) -> str:
    """How to install the package of that extra."""
    return f"Run `aorch plugins install {name}`, or `pip install 'aorch[{name}]'`."


def imported(name: str) -> ModuleType:
    """The package. Raises ConfigInvalid if it is not installed."""
    if missing := missing_package(name):
        raise ConfigInvalid(missing, install_hint(name))
    return importlib.import_module(name)


def http_client(sdk: ModuleType, address: ModelAddress, key: str) -> Any:
    """The HTTP client for that package, which is one of httpx or httpx2, depending on its version.

    It sends no headers of the packages: they read some from the environment, and describe this machine in others.
    """

    async def own_headers(request: Any) -> None:
        for name in list(request.headers):
            if name not in _SENT and not (key and name in _KEY_HEADERS):
                del request.headers[name]
        request.headers["User-Agent"] = "aorch"

    async def limited(response: Any) -> None:
        response.stream = _limited(response.stream, _httpx_of(sdk))

    hooks = {"request": [own_headers], "response": [limited]}
    client = sdk_client(_httpx_of(sdk), None, proxy=address.proxy, event_hooks=hooks)
    client.timeout = type(client.timeout)(None, connect=CONNECT_S)
    return client


@contextmanager
def translated(sdk: ModuleType, key: str) -> Iterator[None]:
    """Raise the errors of the package as ModelError. (`from None`: they contain the request, with the key.)"""
    try:
        yield
    except sdk.APIStatusError as error:
        raise _rejected(error.status_code, error.body, key, error.response.headers.get("Retry-After", "")) from None
    except sdk.APIConnectionError as error:
        raise _broken(error.__cause__ or error) from None
    except sdk.APIError as error:  # an error in the stream
        raise _rejected(200, error.body or error.message, key) from None
    except _httpx_of(sdk).HTTPError as error:  # anthropic does not translate those of a stream
        raise _broken(error) from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # the packages do not check what they read
        raise ModelAnswerInvalid(f"an answer that is not one of its API ({type(error).__name__})") from None


def check_stream(response: Any) -> None:
    """Raise ModelAnswerInvalid if the answer is not an event stream (a web page, a server without streaming)."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise ModelAnswerInvalid(f"an answer of the type {kind[:60] or 'none'}, not an event stream")


def _httpx_of(sdk: ModuleType) -> Any:
    """The module that the package uses: httpx, or (newer versions) httpx2."""
    client = next(each for each in sdk.DefaultAsyncHttpxClient.__mro__ if each.__name__ == "AsyncClient")
    return sys.modules[client.__module__.partition(".")[0]]


def _broken(error: BaseException) -> ModelUnreachable | ModelLost:
    reason = _reason(error)
    return ModelUnreachable(reason) if type(error).__name__ in _NOT_DELIVERED else ModelLost(reason)


def _reason(error: BaseException) -> str:
    """The words of the system for it, such as `Connection refused`, without those of the layers above."""
    reason, seen = str(error) or type(error).__name__, error.__cause__ or error.__context__
    while seen is not None:
        if isinstance(seen, ConnectionError) and seen.errno:
            reason = os.strerror(seen.errno)
        elif isinstance(seen, OSError):  # of a name that does not exist, or a certificate
            reason = getattr(seen, "verify_message", "") or seen.strerror or reason
        seen = seen.__cause__ or seen.__context__
    return _line(reason, "")


def _rejected(status: int, body: Any, key: str, retry_after: str = "") -> ModelRejected:
    error = body.get("error", body) if isinstance(body, dict) else body
    said, kind = error, None
    if isinstance(error, dict):
        said = error.get("message") or error.get("detail") or error
        kind = error.get("code") or error.get("type")
        if status == 200:
            status = kind if type(kind) is int else _STATUS_OF_TYPE.get(str(kind), 500)
    document = str(body).replace(key, "…") if key else str(body)
    return ModelRejected(status, _line(said, key), document, retry_after_s(retry_after) if retry_after else None)


def _line(said: Any, key: str) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in str(said)).split())
    return (text.replace(key, "…") if key else text)[:MOST_SAID]


def _limited(stream: Any, package: Any) -> Any:
    """`stream`, which fails after MOST_BYTES."""

    class Limited(package.AsyncByteStream):  # type: ignore[misc]  # httpx or httpx2
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in stream:
                size += len(chunk)
                if size > MOST_BYTES:
                    raise ModelAnswerTooLarge(f"its answer is longer than {MOST_BYTES:,} bytes")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return Limited()

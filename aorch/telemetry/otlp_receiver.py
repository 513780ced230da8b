"""Sends spans to an OpenTelemetry receiver: OTLP over HTTP, as protobuf, compressed."""

import gzip
from urllib.parse import unquote

import aiohttp

from aorch.config import environment
from aorch.errors import ConfigInvalid, ServiceFailed, ServiceRefused, ServiceUnreachable
from aorch.net.http_client import HttpClient, read_limited
from aorch.net.retry_after import retry_after_s
from aorch.telemetry.otlp_encoding import rejected_spans

PATH = "/v1/traces"
TIMEOUT_S, CONNECT_TIMEOUT_S = 10.0, 5.0
LARGEST_ANSWER = 1024 * 1024
FOR_GOOD = frozenset({400, 413, 415, 422})
"""Statuses with which a receiver says that it will never accept this request. After all others, it is sent again later: the
receiver is down or too busy, or its address or its headers are wrong.
"""
_HINT = "Check endpoint and headers_env in [otel] of aorch.toml; `aorch otel status` shows what is due."


class ReceiverBusy(ServiceUnreachable):
    """The receiver asks for a pause of `retry_after_s` seconds."""

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(message, _HINT)
        self.pause_s = pause_s


class OtlpReceiver:
    """The receiver at `endpoint`, until `close`. `headers` are written as in OTEL_EXPORTER_OTLP_HEADERS.

    Raises ConfigInvalid for invalid headers.
    """

    def __init__(self, endpoint: str, headers: str) -> None:
        self._url = endpoint + PATH
        self._client = HttpClient(TIMEOUT_S, CONNECT_TIMEOUT_S, headers=_headers(headers))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def send(self, body: bytes) -> tuple[int, str]:
        """Send a request. Returns how many of its spans the receiver rejected, and why.

        Raises ServiceRefused if it will never accept the request, and other ServiceUnreachable if it does not accept it now.
        """
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        try:
            async with self._client.request(
                "POST", self._url, data=gzip.compress(body, 5), headers=headers
            ) as response:
                text = await read_limited(response, LARGEST_ANSWER) or b""
                pause_s = retry_after_s(response.headers.get("Retry-After", ""))
        except TimeoutError as error:
            raise ServiceFailed(f"the receiver {self._url} gave no answer within {TIMEOUT_S:g} s", _HINT) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceUnreachable(f"the receiver {self._url} cannot be reached: {_reason(error)}", _HINT) from error
        if response.status // 100 == 2:
            return self._rejected(text)
        reply = f"{response.status} {' '.join(text[:200].decode('utf-8', 'replace').split())}".strip()
        if response.status in FOR_GOOD:
            raise ServiceRefused(f"the receiver {self._url} rejected spans: {reply}")
        raise ReceiverBusy(f"the receiver {self._url} does not accept spans: {reply}", pause_s)

    def _rejected(self, text: bytes) -> tuple[int, str]:
        try:
            return rejected_spans(text)
        except ValueError:  # some receivers answer with JSON or text
            return 0, ""


def _headers(given: str) -> dict[str, str]:
    """The headers in a list `name=value,name=value` with percent-encoded values."""
    headers = {}
    for pair in filter(None, map(str.strip, given.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not name or not equals or not environment.fits_header(unquote(value)) or not environment.fits_header(name):
            raise ConfigInvalid(
                "the variable that otel.headers_env names is not a list of headers",
                "Write name=value,name=value, and spaces as %20.",
            )
        headers[name] = unquote(value)
    return headers


def _reason(error: Exception) -> str:
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return (getattr(inner, "strerror", None) or str(inner) or type(inner).__name__).lower()

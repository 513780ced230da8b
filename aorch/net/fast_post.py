"""POST requests to one address, with aiohttp's connections but without its session. Contains all code that uses private names of
aiohttp's client.

For each request the session prepares the URL, the headers, the cookies, the time limits and a task that writes the body, which
takes more processor time than the rest of the call. Here, everything that does not change is prepared once. With a version of
aiohttp that was not tested, the session sends the request.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import hdrs, http_writer
from aiohttp.connector import Connection
from aiohttp.helpers import parse_content_type
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from aorch.net.aiohttp_version import AVAILABLE

LARGE = 32_768
"""Bytes. The session sends bodies of this size or more, because it waits for slow servers."""
READ_BYTES = 64 * 1024
"""How much is read at a time. For the 256 KiB of asyncio, glibc maps memory for each read and unmaps it again, which takes a
fifth of the processor time of a call; it does so from 128 KiB on.
"""
BINARY = "application/octet-stream"


class FastPost:
    """POST requests to an address, with the connections and the headers of `session` and its `timeout` for connecting."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, timeout: aiohttp.ClientTimeout) -> None:
        self._connector, self._timeout = session.connector, timeout
        self._model = aiohttp.ClientRequest("POST", url, headers=session.headers, session=session)
        """It is never sent; the connector opens connections for it."""
        self._start = f"POST {url.raw_path_qs} HTTP/1.1"
        self._headers = {str(name): value for name, value in self._model.headers.items()}

    @classmethod
    def of(cls, session: aiohttp.ClientSession, url: str, timeout: aiohttp.ClientTimeout) -> "FastPost | None":
        """The requests to `url`; None if only the session can send them or say what is wrong with the address."""
        connector = session.connector
        if not AVAILABLE or timeout.total or connector is None or connector.force_close:
            return None
        try:
            address = URL(url)
        except ValueError:
            return None
        if address.scheme not in ("http", "https") or not address.raw_host or address.raw_user or address.raw_password:
            return None
        return cls(session, address, timeout)

    def send(self, body: bytes, headers: Mapping[str, str]) -> "FastExchange":
        """Send a request with a `body` below LARGE; `async with` gives its answer. Raises aiohttp's errors, and OSError."""
        all_headers: Any = {**self._headers, **headers, hdrs.CONTENT_LENGTH: str(len(body))}
        return FastExchange(self, http_writer._serialize_headers(self._start, all_headers) + body)

    async def connect(self) -> Connection:
        """A connection for one request, which was used before if possible."""
        assert self._connector is not None
        try:
            return await self._connector.connect(self._model, [], self._timeout)
        except TimeoutError as late:
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {self._model.url}") from late

    def rejected(self, error: HttpProcessingError) -> aiohttp.ClientResponseError:
        """The error of an answer that is not HTTP."""
        return aiohttp.ClientResponseError(
            self._model.request_info, (), status=error.code, message=error.message, headers=error.headers
        )


class FastExchange:
    """One request and its answer, with the names that aiohttp's answers have. At the end of the `async with` block, the
    connection is kept for the next request if the answer was read to its end, and closed otherwise.
    """

    __slots__ = ("_connection", "_message", "_post", "content", "headers", "status")

    status: int
    headers: CIMultiDictProxy[str]
    content: aiohttp.StreamReader

    def __init__(self, post: FastPost, message: bytes) -> None:
        self._post, self._message = post, message
        self._connection: Connection | None = None

    async def __aenter__(self) -> "FastExchange":
        connection = await self._post.connect()
        try:
            protocol, transport = connection.protocol, connection.transport
            assert protocol is not None
            protocol.set_response_params(read_until_eof=True)
            if transport is None or transport.is_closing():
                raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
            if hasattr(transport, "max_size"):  # a transport of asyncio's own loops
                transport.max_size = READ_BYTES
            transport.write(self._message)
            while True:
                answer, self.content = await protocol.read()
                if not 100 <= answer.code <= 199 or answer.code == 101:
                    break
        except HttpProcessingError as error:
            connection.close()
            raise self._post.rejected(error) from error
        except BaseException:
            connection.close()
            raise
        self.status, self.headers = answer.code, answer.headers
        self._connection = connection
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._connection is not None
        if self.content.at_eof():
            self._connection.release()
        else:
            self._connection.close()

    @property
    def content_type(self) -> str:
        """The media type of the answer."""
        given = self.headers.get(hdrs.CONTENT_TYPE)
        return BINARY if given is None else parse_content_type(given)[0]

"""One connection: aiohttp's own protocol, with limits in time that it lacks, and its refusals as problem+json.

aiohttp has no limit for the time that a client takes to send its header, nor for one that takes no answer (version 3.14:
`keepalive_timeout` alone closes both, if at all), and answers what is no HTTP itself, as text, before any middleware.
"""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from aorch.errors import AorchError
from aorch.ids import new_id
from aorch.server.access_log import RequestLog
from aorch.server.application import REQUEST_ID, Handler, http_refusal
from aorch.server.connection_limit import ConnectionLimit
from aorch.server.fast_path import MAX_HEAD_BYTES, HeadTooLarge, Protocol
from aorch.server.problems import Refusal, problem
from aorch.server.unsent import Unsent

MAX_LINE_BYTES = 8192
"""Of the request line."""
MAX_HEADER_BYTES = 8190
"""Of each header, its name included."""
MAX_HEADERS = 100
IDLE_S = 75.0
"""How long a connection may be without a request."""
LINGER_S = 2.0
"""How long what a client goes on sending after it has been answered is read and thrown away, so that it sees the answer."""
STUCK_S = 60.0
"""How long a client may take nothing of an answer that waits for it."""


TOO_MANY = Refusal(
    503, "too_many_connections", "too many connections are open", "Close idle connections, or raise ulimit -n."
)


class Connection(Protocol):
    """A connection to `server`, whose requests go to `entrance`.

    A header must be whole within `read_timeout_s` from its first byte, else 408. A client that closes its sending side gets
    the answers to the requests that it sent whole.
    """

    __slots__ = (
        "_ended_at",
        "_is_stream",
        "_limit",
        "_log",
        "_read_timeout_s",
        "_silent",
        "_stuck",
        "_stuck_s",
        "_unfinished",
        "_unsent",
    )

    def __init__(
        self,
        server: web.Server,
        entrance: Handler,
        log: RequestLog,
        read_timeout_s: float,
        limit: ConnectionLimit,
        unsent: Unsent,
        *,
        idle_s: float = IDLE_S,
        stuck_s: float = STUCK_S,
    ) -> None:
        server.request_handler = entrance  # type: ignore[assignment]  # its requests are an application's
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=idle_s,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            auto_decompress=False,  # nothing is decompressed that nobody reads: see request_body.py
        )
        self._log = log
        self._ended_at: float | None = None
        self._is_stream = False
        self._read_timeout_s = read_timeout_s
        self._limit = limit
        self._unsent = unsent
        self._silent = True
        self._stuck_s = stuck_s
        self._unfinished: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or say that there are too many connections and close."""
        super().connection_made(transport)
        if not self._limit.let_in(self):
            self._end_with(problem(TOO_MANY))

    def give_way(self) -> None:
        """Close, without a word: nothing was asked."""
        self.force_close()

    def data_received(self, data: bytes) -> None:
        """Take `data`. What came while a request was waited for, and did not make one, is a part of a header."""
        if self._silent:
            self._silent = False
            self._limit.heard(self)
        super().data_received(data)
        if not self.is_idle():
            self._is_finished()
        elif self._unfinished is None:
            self._unfinished = asyncio.get_running_loop().call_later(self._read_timeout_s, self._give_up)

    def begun(self) -> None:
        """A request has reached the application, so that its header was whole."""
        super().begun()
        self._is_finished()

    def begin_stream(self) -> None:
        """What is answered now has no end: it ends with the client, which is gone once it closes its sending side."""
        self._is_stream = True

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio allows it
        """The client sends nothing more. Whether to stay open, for the answers that are due."""
        is_due = not self._is_stream and self.is_whole() and not (self.is_idle() and self._unfinished is None)
        if is_due:
            self.half_close()
            self._ended_at = asyncio.get_running_loop().time()
        return is_due

    def may_have_left(self, after_s: float) -> bool:
        """Whether the connection is lost, or its client closed its sending side so long ago: as if it left, or half-closed."""
        if self.transport is None:
            return True
        return self._ended_at is not None and asyncio.get_running_loop().time() - self._ended_at >= after_s

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing comes or goes any more."""
        self._limit.left(self)
        self._unsent.remove(self)
        for timer in (self._unfinished, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def is_sending(self) -> bool:
        """Whether a part of an answer waits for the client to take it."""
        return self.transport is not None and self.transport.get_write_buffer_size() > 0

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        if self.transport is not None:
            self._stuck = asyncio.get_running_loop().call_later(self._stuck_s, self.abort)
            self._unsent.add(self, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        super().resume_writing()
        self._unsent.remove(self)
        if self._stuck is not None:
            self._stuck.cancel()

    def abort(self) -> None:
        """Close at once: the client takes nothing of its answer."""
        if self.transport is not None:
            self.transport.abort()

    def refined(self, response: Any) -> Any:
        """What aiohttp made up outside of the middleware (417) as problem+json."""
        return self._logged(problem(http_refusal(response))) if isinstance(response, web.HTTPException) else response

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, and to a fault outside of the middleware; the connection ends with it."""
        if isinstance(exc, HttpProcessingError):
            response = problem(_not_http(exc))
        else:
            self.logger.error("a fault of the server", exc_info=exc)
            if request.writer.output_size:
                raise ConnectionError("the answer has begun")
            response = problem(AorchError("a fault of the server; its log has the trace"))
        response.force_close()
        return self._logged(response)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a fault of the server; a body that is not what its headers say is none, and has been answered."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def _is_finished(self) -> None:
        """The header is whole."""
        if self._unfinished is not None:
            self._unfinished.cancel()
            self._unfinished = None

    def _give_up(self) -> None:
        """The header takes too long."""
        response = problem(Refusal(408, "too_slow", f"the header took longer than {self._read_timeout_s:g} s"))
        self._end_with(self._logged(response))

    def _end_with(self, response: web.Response) -> None:
        """Send `response`, if anybody listens, and close."""
        if self.transport is not None:
            self.transport.write(_raw(response))
        self.force_close()

    def _logged(self, response: web.Response) -> web.Response:
        response.headers[REQUEST_ID] = request_id = new_id()
        self._log.write("-", "-", response.status, 0.0, request_id, {})
        return response


def may_have_left(request: web.Request, after_s: float) -> bool:
    """See Connection."""
    connection = request.protocol
    return isinstance(connection, Connection) and connection.may_have_left(after_s)


def until_client_leaves(request: web.Request) -> None:
    """Let the answer to `request`, a stream, end once its client closes its sending side."""
    connection = request.protocol
    if isinstance(connection, Connection):
        connection.begin_stream()


def _not_http(error: HttpProcessingError) -> Refusal:
    """The reasons quote what was sent, which may hold a secret: only their own words are told."""
    if isinstance(error, HeadTooLarge):
        return Refusal(431, "headers_too_large", f"the headers are larger than {MAX_HEAD_BYTES} bytes together")
    if not isinstance(error, LineTooLong):
        reason = error.message.partition("\n")[0].partition(":")[0] if "\n" in error.message else "it is malformed"
        return Refusal(400, "not_http", f"this is not HTTP: {reason}")
    if error.args[1] == MAX_LINE_BYTES:
        return Refusal(414, "uri_too_long", f"the path and query are longer than {MAX_LINE_BYTES} bytes")
    return Refusal(431, "headers_too_large", f"a header is longer than {MAX_HEADER_BYTES} bytes")


def _raw(response: web.Response) -> bytes:
    body = response.body
    assert isinstance(body, bytes)
    headers = {**response.headers, "Content-Length": len(body), "Connection": "close"}
    head = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*head, "", ""]).encode() + body

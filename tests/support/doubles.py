"""What the doubles of outside services stand on: a small real HTTP server in threads of its own, on a free local port."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar


class Double:
    """A service. `answer` is told what was asked and gives a status, a body (JSON, bytes as they are, or an iterator of bytes
    that are sent one after the other) and headers; None breaks the connection off, also within an iterator.
    """

    url: str

    def __init__(self) -> None:
        self.closing = threading.Event()

    def answer(self, method: str, path: str, headers: Any, body: Any) -> tuple[int, Any, dict[str, str]] | None:
        """What the service does."""
        raise NotImplementedError


Service = TypeVar("Service", bound=Double)


@contextmanager
def running(double: Service) -> Iterator[Service]:
    """`double` at its `url`, until the end of the block."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that went away is no news."""

    server = Server(("127.0.0.1", 0), _handler(double))
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        double.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def _handler(double: Double) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            given = self.rfile.read(length)
            answered = double.answer(self.command, self.path, self.headers, _decoded(given))
            if answered is None:
                self.close_connection = True
                return
            status, content, headers = answered
            if isinstance(content, Iterator):
                self._stream(status, content, headers)
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self._begin(status, {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers})
            self.wfile.write(data)

        def _stream(self, status: int, pieces: Iterator[bytes | None], headers: dict[str, str]) -> None:
            self._begin(status, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", **headers})
            for piece in pieces:
                if piece is None:
                    self.close_connection = True
                    return
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def _begin(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    return Handler


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body

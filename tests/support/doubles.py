"""What the doubles of outside services stand on: a small real HTTP server in threads of its own, on a free local port."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar


class Double:
    """A service. `answer` is told what was asked and gives a status, a body (JSON, or bytes as they are) and headers;
    None breaks the connection off.
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

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            given = self.rfile.read(length)
            try:
                body = json.loads(given) if given else None
            except ValueError:
                body = given
            answered = double.answer(self.command, self.path, self.headers, body)
            if answered is None:
                self.close_connection = True
                return
            status, content, headers = answered
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that went away is no news."""

    server = Server(("127.0.0.1", 0), Handler)
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

"""An HTTP proxy, which is a small real server: it forwards each request to one server, whatever host the request names."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FORWARDED = ("content-type", "mcp-session-id", "retry-after")


@dataclass
class Proxy:
    """The URL of a proxy, and the URLs that it was asked for."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def proxy_to(server: str) -> Iterator[Proxy]:
    """A proxy that forwards everything to the URL `server`, until the end of the block."""
    proxy, target = Proxy(), urlsplit(server)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            proxy.asked.append(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=20)
            connection.request(self.command, urlsplit(self.path).path, body, {**headers, "Connection": "close"})
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name in FORWARDED:
                if value := answer.getheader(name):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_DELETE = do_POST

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    forwarding = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    forwarding.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{forwarding.server_port}"
    thread = threading.Thread(target=forwarding.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        forwarding.shutdown()
        forwarding.server_close()
        thread.join(5)

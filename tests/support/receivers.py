"""A webhook receiver, which is a small real server."""

import base64
import hashlib
import hmac
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from homes import Home
from queueing import furnish

KEY = b"twenty-four-bytes-of-key"

SECRET = f"whsec_{base64.b64encode(KEY).decode()}"

CONFIG = '[queue]\nwebhook_secret_env = "HOOK_SECRET"\n'


@dataclass
class Receiver:
    """A small real receiver: what it was sent, and what it answers (statuses in turn, the last for ever)."""

    statuses: list[int] = field(default_factory=lambda: [204])
    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    inside: int = 0
    most_inside: int = 0
    retry_after: str = ""
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.hold.set()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> int:
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.taken.append((path, headers, body))
            status = self.statuses[min(len(self.taken), len(self.statuses)) - 1]
        self.hold.wait(20)
        with self.lock:
            self.inside -= 1
        return status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.answer(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            if receiver.retry_after:
                self.send_header("Retry-After", receiver.retry_after)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield receiver
    receiver.hold.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def home(home: Home) -> Home:
    """A machine with the agents of queueing.CONFIG and a webhook secret."""
    home.environment["HOOK_SECRET"] = SECRET
    return furnish(home, CONFIG)


def verify(headers: dict[str, str], body: bytes, key: bytes = KEY) -> bool:
    """As https://www.standardwebhooks.com has it."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{signature}"

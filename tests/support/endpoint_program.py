"""An HTTP endpoint in a process of its own: `python endpoint_program.py [CERTIFICATE KEY]` prints its port.

Each first step of its paths is another agent: `/html/execute` answers with a page. All report the capability `work`.
"""

import asyncio
import contextlib
import gzip
import json
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

LARGE = 200 * 1000 * 1000
OF_STATUS = {
    "bad_request": (400, "no such text", {}),
    "unauthorised": (401, '{"detail": "invalid token"}', {}),
    "moved": (307, "", {"Location": "http://127.0.0.1:9/execute"}),
    "relative": (308, "", {"Location": "/v2/execute"}),
    "unmodified": (304, "", {}),
    "choices": (300, "", {}),
    "limited": (429, '{"error": "7 a minute"}', {"Retry-After": "7"}),
    "broken": (500, "<h1>Internal  Server\nError</h1>", {}),
    "rambling": (500, "why " * 100_000, {}),
    "gateway": (502, "", {}),
    "overloaded": (503, "", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "impatient": (504, "", {}),
}
OF_BODY = {
    "html": "<!doctype html><title>Hello</title>",
    "half_json": '{"success": true, "da',
    "shapeless": '{"result": 1}',
    "empty": "",
    "failing": '{"success": false, "error": "too dark", "data": {"seen": 1}}',
    "model": '{"success": true, "data": 1, "provider": "p-1", "model": "m-1", "usage": {"input": 3}, "stop_reason": "end"}',
}
LINES = {
    "progress": ['{"progress": {"done": 1}}', "", '{"progress": "half"}', '{"success": true, "data": "done"}'],
    "endless": ['{"progress": 1}'],
    "muttering": ["half"],
    "talkative": [*['{"progress": "' + "x" * 1000 + '"}'] * 100, '{"success": true, "data": 1}'],
    "long": ['{"progress": 1}', '{"success": true, "data": "' + "x" * 100_000 + '"}'],
}
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
RAW = {
    "noise": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "hinting": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + CLOSING + b"\r\n" + OF_BODY["failing"].encode(),
    "zipped": CLOSING + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(OF_BODY["failing"].encode()),
}
HEALTH: dict[str, tuple[int, str]] = {
    "draining": (200, '{"status": "draining", "reason": "a new version starts"}'),
    "busy": (200, '{"status": "busy"}'),
    "sick": (503, '{"status": "error", "reason": "no disk"}'),
    "closed": (503, ""),
    "odd": (200, '{"status": "sleepy"}'),
    "silent": (404, "not found"),
}


class Agents(BaseHTTPRequestHandler):
    """Answers requests. `asked` counts them; `gone` is set when a client of `hang` has closed its connection.
    Every second answer of `rambling` is an error; at `/x/more`, `repeating` sends a second answer to its last request.
    `/x/flip` turns the health of `flapping` bad, and gives all agents the capability `rest`; or undoes both.
    """

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[str]] = Counter()
    gone = threading.Event()
    more, has_sent_more = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        _, mode, what = self.path.split("/")
        if what == "asked":
            return self.send(200, json.dumps(self.asked))
        if what == "gone":
            return self.send(200, json.dumps(self.gone.wait(5)))
        if what == "more":
            self.more.set()
            return self.send(200, json.dumps(self.has_sent_more.wait(5)))
        self.asked[self.path] += 1
        if what == "flip":
            return self.send(200, "null")
        if what == "capabilities":
            if mode == "html":
                return self.send(200, OF_BODY["html"])
            schema = {"type": "object", "properties": {"text": {"type": "string", "default": None}}}
            work = {"name": "work", "description": "Work", "parameters": schema, "idempotent": True}
            found = [] if mode == "empty" else [work, {"name": "rest"}] if self.asked["/x/flip"] % 2 else [work]
            return self.send(200, json.dumps({"capabilities": found}))
        if mode == "flapping" and self.asked["/x/flip"] % 2:
            return self.send(503, "")
        if mode == "asleep":
            self.gone.wait(20)
        return self.send(*HEALTH.get(mode, (200, '{"status": "available"}')))

    def do_POST(self) -> None:
        task = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mode = self.path.split("/")[1]
        self.asked[self.path] += 1
        if mode in OF_STATUS and (mode != "rambling" or self.asked[self.path] % 2):
            self.send(*OF_STATUS[mode])
        elif mode in OF_BODY:
            self.send(200, OF_BODY[mode])
        elif mode in LINES:
            self.send(200, "\n".join(LINES[mode]), {"Content-Type": "application/x-ndjson; charset=utf-8"})
        elif mode == "betraying":
            sent = self.headers["Authorization"]
            lines = [{"progress": {sent: [sent]}}, {"success": False, "error": f"no: {sent}", "data": {sent: [sent]}}]
            self.send(200, "\n".join(map(json.dumps, lines)), {"Content-Type": "application/x-ndjson"})
        elif mode == "large":
            self.send_large()
        elif mode == "half":
            self.send(200, '{"success": true, ', {"Content-Length": "1000"})
            self.close_connection = True
        elif mode == "deaf":
            self.close_connection = True
        elif mode in RAW:
            self.wfile.write(RAW[mode])
            self.close_connection = True
        elif mode == "hang":
            self.connection.settimeout(20)
            with contextlib.suppress(OSError):
                self.connection.recv(1)
            self.gone.set()
            self.close_connection = True
        else:
            self.send_result(mode, task)

    def send_result(self, mode: str, task: dict[str, Any]) -> None:
        data = {"task": task, "headers": dict(self.headers), "port": self.client_address[1]}
        self.send(200, json.dumps({"success": True, "data": data}))
        if mode == "repeating":
            self.more.wait(20)
            self.send(200, '{"success": true, "data": "again"}')
            self.has_sent_more.set()

    def send(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        data = body.encode()
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def send_large(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(LARGE))
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            for _ in range(LARGE // 1_000_000):
                self.wfile.write(b"x" * 1_000_000)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no news."""


class Endpoint:
    """The running process."""

    def __init__(self, *arguments: str, port: int = 0) -> None:
        from homes import start_script  # the process itself does not need it

        self.process = start_script(__file__, str(port), *arguments, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.url = f"{'https' if arguments else 'http'}://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


async def asked(server: Endpoint, path: str) -> Any:
    """What the endpoint answers at `path`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    return json.loads(body)


@contextlib.contextmanager
def endpoint(*arguments: str, port: int = 0) -> Iterator[Endpoint]:
    """A process that runs until the end of the block."""
    started = Endpoint(*arguments, port=port)
    try:
        yield started
    finally:
        started.kill()


def certificate(folder: Path) -> tuple[str, str]:
    """The files of a new certificate, which nobody has signed, and of its key."""
    files = str(folder / "certificate.pem"), str(folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True, timeout=30)
    return files


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Agents)
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()

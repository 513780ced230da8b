"""A real `aorch serve` in a process of its own, on a free local port."""

import contextlib
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from homes import Home
from waiting import WAIT_S

START_S = 60.0
"""How long a start or a stop may take on a machine where every core is busy with other tests."""
ANNOUNCED = re.compile(r"^aorch serves (http://\S+) over ", re.MULTILINE)


def client_of(url: str) -> httpx.Client:
    """A client of the server at that http URL. It reads no certificates, which takes 25 ms of CPU time."""
    assert url.startswith("http://")
    return httpx.Client(base_url=url, timeout=START_S, trust_env=False, verify=False)


class Server:
    """One that runs. `log` is what it wrote on standard error so far, the line "aorch serves …" among that."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._lines: list[str] = []
        self._started = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        if not self._started.wait(START_S):
            process.kill()
        said = ANNOUNCED.search(self.log)
        assert said, f"it did not start: {self.log}"
        self.url = said[1]
        self.client = client_of(self.url)

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.client.post(path, **options)

    def get_by_new_connection(self, path: str) -> httpx.Response:
        """Send a request on a connection of its own, which another process of the server may accept."""
        with client_of(self.url) as client:
            return client.get(path)

    def stop(self) -> int:
        """Tell it to stop (SIGTERM) and wait until it has; its exit code.

        Closes `client` first: the server waits a second for requests on open connections.
        """
        self.client.close()
        self.process.terminate()
        try:
            code = self.process.wait(START_S)
        finally:
            self.process.kill()
        self._listener.join(START_S)
        return code

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.process.kill()
        self.process.wait(START_S)
        self._listener.join(START_S)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.append(line.decode())
                if ANNOUNCED.match(self._lines[-1]):
                    self._started.set()
        self._started.set()


def accepts_connections(server: Server) -> bool:
    """Whether a process accepts connections at the server's address."""
    with contextlib.suppress(ConnectionError):
        url = server.client.base_url
        socket.create_connection((url.host, url.port or 80), START_S).close()
        return True
    return False


def request_unread(server: Server, path: str) -> socket.socket:
    """A connection that has requested `path`; unless the test reads it, it accepts at most a few KiB of the response."""
    address = urlsplit(server.url)
    connection = socket.socket()
    connection.settimeout(WAIT_S)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((address.hostname, address.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    return connection


@contextmanager
def serving(home: Home, *arguments: str) -> Iterator[Server]:
    """`aorch serve --port 0 ARGUMENTS` in that home, until the end of the block; unless the test ended it, it ends cleanly."""
    process = home.start("serve", "--port", "0", *arguments, stdout=subprocess.DEVNULL)
    try:
        server = Server(process)
        with server.client:
            yield server
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.poll() is None:
        code = server.stop()
        assert code == 0, f"it ended with {code}: {server.log}"

"""A proxy for TCP connections that can stop forwarding without closing anything, as a network does that is cut."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class CutProxy:
    """Forwards connections to `server` (a URL), which a test can change for new ones. While `cut`, nothing gets through."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.cut = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ, None)
        self._ended = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End everything."""
        self._ended = True
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # a socket
        self._selector.close()

    def _work(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.05):
                if self.cut:
                    threading.Event().wait(0.02)
                    continue
                source = key.fileobj
                assert isinstance(source, socket.socket)
                if key.data is None:
                    self._accept()
                elif source.fileno() >= 0:
                    self._forward(source, key.data)

    def _accept(self) -> None:
        client, _ = self._listening.accept()
        target = urlsplit(self.server)
        try:
            server = socket.create_connection((target.hostname, target.port), 5)
        except OSError:
            client.close()
            return
        self._selector.register(client, selectors.EVENT_READ, server)
        self._selector.register(server, selectors.EVENT_READ, client)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = source.recv(65536)
            if data:
                target.sendall(data)
                return
        for each in (source, target):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(each)
            each.close()


@contextmanager
def cut_proxy(server: str) -> Iterator[CutProxy]:
    """A CutProxy until the end of the block."""
    proxy = CutProxy(server)
    try:
        yield proxy
    finally:
        proxy.cut = False
        proxy.close()

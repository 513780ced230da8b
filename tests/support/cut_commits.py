"""A server in front of PostgreSQL's that cuts a connection at a COMMIT, as a network does that breaks at that moment."""

import selectors
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from postgres_servers import Cluster

from aorch.config.ledger_location import PostgresUrl


class Cutting:
    """Stands in `folder` for the socket of `cluster`. It cuts a connection at a COMMIT of a transaction that has sent `marker`:
    for each of `cuts`, `before` or `after` the server has got it. With `then_down`, it accepts no connection after the cut.
    """

    def __init__(self, cluster: Cluster, folder: Path, *, then_down: bool = False) -> None:
        self.folder, self.cuts, self.marker = folder, list[str](), b""
        self.is_down, self._then_down = False, then_down
        self._real = str(cluster.folder / f".s.PGSQL.{cluster.port}")
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / f".s.PGSQL.{cluster.port}"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self.is_down:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._real)
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, selectors.DefaultSelector() as selector, suppress(OSError):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            sent, how = b"", ""
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    if key.fileobj is client:
                        sent += data
                        if b"COMMIT" in data:
                            sent, how = b"", how or self._cut(sent)
                    if how == "before" or (how == "after" and key.fileobj is server and b"COMMIT" in data):
                        return  # `data` is the COMMIT, or its answer
                    key.data.sendall(data)

    def _cut(self, sent: bytes) -> str:
        if not self.cuts or self.marker not in sent:
            return ""
        self.is_down = self._then_down
        return self.cuts.pop()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def cutting(cluster: Cluster, url: PostgresUrl, *, then_down: bool = False) -> Iterator[tuple[Cutting, PostgresUrl]]:
    """A Cutting in front of `cluster`, and the URL of the database behind it."""
    with tempfile.TemporaryDirectory(prefix="cut-") as folder:
        found = Cutting(cluster, Path(folder), then_down=then_down)
        try:
            yield found, PostgresUrl(str(url).replace(str(cluster.folder), folder))
        finally:
            found.close()

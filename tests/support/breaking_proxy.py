"""A proxy that loses the answers to the first requests, as a network does."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


@contextmanager
def breaking(server: str, answers_to_lose: int) -> Iterator[str]:
    """The URL of a proxy to `server` that closes its first connections as soon as their answer comes."""
    address = urlsplit(server)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            left = answers_to_lose
            with suppress(OSError):  # the listener was closed
                while True:
                    client = listener.accept()[0]
                    upstream = socket.create_connection((address.hostname or "", address.port or 80))
                    threading.Thread(target=_forward, args=(client, upstream, left > 0), daemon=True).start()
                    left -= 1

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _forward(client: socket.socket, upstream: socket.socket, loses: bool) -> None:
    """Forward bytes in both directions until one side closes, or until an answer comes that gets lost."""
    with client, upstream, suppress(OSError):
        while True:
            for ready in select.select((client, upstream), (), ())[0]:
                data = ready.recv(65536)
                if not data or (loses and ready is upstream):
                    return
                (upstream if ready is client else client).sendall(data)

"""A proxy that adds TLS to a server, as nginx does in front of `aorch serve`."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit


@contextmanager
def tls_proxy(server: str, certificate: Path, key: Path) -> Iterator[str]:
    """The https URL of a proxy to `server` with that certificate, until the end of the block."""
    address, context = urlsplit(server), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with suppress(OSError):  # the listener was closed
                while True:
                    plain = listener.accept()[0]
                    threading.Thread(target=_serve, args=(plain, context, address), daemon=True).start()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _serve(plain: socket.socket, context: ssl.SSLContext, address: SplitResult) -> None:
    with (
        suppress(OSError),
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection((address.hostname or "", address.port or 80)) as upstream,
    ):
        answering = threading.Thread(target=_copy, args=(upstream, client), daemon=True)
        answering.start()
        _copy(client, upstream)
        upstream.shutdown(socket.SHUT_RDWR)
        answering.join()
    plain.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)

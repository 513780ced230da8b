"""The listening socket: bind, accept, and close without resetting established connections."""

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
import sys
import time
from collections.abc import Callable

from aorch.config import config_file
from aorch.config.settings import Config
from aorch.errors import UsageError

BACKLOG = 1024
"""Maximum number of connections that wait to be accepted."""
DRAIN_S = 0.1
"""How long to keep accepting connections that were established before the socket closed."""
PAUSE_S = 1.0
"""How long accepting pauses when no descriptor or memory is left for another connection."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_SHUT_DOWN = frozenset({errno.EINVAL, errno.EBADF})
_SO_ATTACH_FILTER = 26
_DROP_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load the flags of the TCP header
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN without ACK: a new connection
    (0x06, 0, 0, 0),  # drop it: the client sends it again after a second, to the next service
    (0x06, 0, 0, 0xFFFFFFFF),  # everything else passes
)
"""A classic BPF program (socket(7), SO_ATTACH_FILTER)."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to that address that does not listen yet. Raises UsageError, also if the address is in use."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
        raise _cannot_listen(host, port, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _cannot_listen(host, port, error) from error
    bound.setblocking(False)
    return bound


def listen(bound: socket.socket) -> None:
    """Let clients connect. Raises UsageError if another process has started to listen at that address in the meantime."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise _cannot_listen(host, port, error) from error


def stop_listening(listening: socket.socket) -> None:
    """Free the address for the next service, in every process that shares the socket. Blocks for DRAIN_S.

    Closing a socket resets the connections that wait to be accepted. So new connections are blocked first, and then the
    processes that share the socket accept the waiting ones.
    """
    program = b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW_CONNECTIONS)
    memory = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HP", len(_DROP_NEW_CONNECTIONS), ctypes.addressof(memory))
    with contextlib.suppress(OSError):  # not on Linux: a connection established at this moment can be reset
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    time.sleep(DRAIN_S)
    with contextlib.suppress(OSError):  # the socket does not listen (any more)
        listening.shutdown(socket.SHUT_RDWR)


def announce(config: Config, port: int, *, closed: bool) -> None:
    """Print the address of the service on stderr. `closed`: callers need a token."""
    workers = f", {config.serve.workers} workers" if config.serve.workers > 1 else ""
    workers += "; callers need a token" if closed else ""
    sys.stderr.write(f"aorch serves {url_of(config.serve.host, port)} over {config.ledger}{workers}\n")
    sys.stderr.flush()


def url_of(host: str, port: int) -> str:
    """Return the URL of a server at that address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Listener:
    """Accepts connections from `listening` until `close`, and gives each a protocol from `connection`.

    At most `at_once` are accepted in a row, so that processes that share the socket take turns.
    """

    def __init__(self, listening: socket.socket, connection: Callable[[], asyncio.Protocol], at_once: int) -> None:
        self._listening = listening
        self._connection = connection
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[object]] = set()
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Stop accepting."""
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()

    def _accept(self) -> None:
        for _ in range(self._at_once):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _SHUT_DOWN:  # this process or another one has accepted the connection
                    self.close()
                elif error.errno in _EXHAUSTED:
                    self._pause()
                return  # any other error concerns one connection (accept(2)); the next call accepts the next one
            accepted.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._connection, accepted))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    def _pause(self) -> None:
        self._loop.remove_reader(self._listening)
        self._loop.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.add_reader(self._listening, self._accept)


def _cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> UsageError:
    return UsageError(
        f"cannot listen on {host}:{port}: {config_file.reason_of(error)}",
        "Choose another --host or --port (0: any free port).",
    )

"""What a connection can do besides statements: receive what the server sends by itself, and be abandoned by a forked child."""

import contextlib
import os
import select
from collections.abc import Callable

import psycopg

from aorch.ledger.postgres.connection import Connection
from aorch.ledger.postgres.failures import translated_error
from aorch.ledger.server_errors import ServerError


def when_notified(connection: Connection, call: Callable[[], None]) -> None:
    """Call `call` for each notification that arrives, in the thread that executes a statement or calls `receive`."""
    connection.raw.add_notify_handler(lambda _: call())


def receive(connection: Connection) -> None:
    """Receive what the server has sent, without waiting. Raises ConnectionLost."""
    try:
        libpq = connection.raw.pgconn
        libpq.consume_input()
        while (found := libpq.notifies()) is not None:
            if libpq.notify_handler is not None:
                libpq.notify_handler(found)
    except psycopg.Error as error:
        raise translated_error(error) from error


def descriptor(connection: Connection) -> int:
    """The descriptor of the connection's socket. Raises ConnectionLost."""
    try:
        return connection.raw.fileno()
    except psycopg.Error as error:
        raise translated_error(error) from error


def is_closed(connection: Connection) -> bool:
    """Whether the connection is broken, also if the server closed it while no statement ran. The caller alone uses it."""
    if not connection.is_lost:
        poll = select.poll()
        with contextlib.suppress(ServerError):
            poll.register(descriptor(connection), select.POLLIN)
            while poll.poll(0):  # the server's last message first, and then the end of the connection
                receive(connection)
    return connection.is_lost


def abandon(connection: Connection) -> None:
    """In a forked child: close the connection without a word to the server, because it is the parent's."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, connection.raw.fileno())
    os.close(nowhere)
    connection.raw.close()

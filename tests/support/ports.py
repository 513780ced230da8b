"""Ports for servers that cannot choose one themselves."""

import random
import socket
from contextlib import suppress

PORTS = range(15_000, 30_000)
"""No system gives one of these to a program that asks for any port, as all other servers and clients of tests do."""


def free_port() -> int:
    """A port on which nothing listens, at which a server can be started."""
    while True:
        port = random.choice(PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port

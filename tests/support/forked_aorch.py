"""`aorch` for the shells of tests: `python -S -E forked_aorch.py SOCKET ARGUMENTS` runs as a fork of a prestarted process.

It imports little, so that it starts in 15 ms. The command has its streams, directory and environment; signals are passed on.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    umask = os.umask(0o077)
    os.umask(umask)
    request = {"arguments": sys.argv[2:], "env": dict(os.environ), "umask": umask, "new_session": False}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        folder = os.open(".", os.O_DIRECTORY)
        socket.send_fds(connection, [b"."], [0, 1, 2, folder])
        connection.sendall(json.dumps(request).encode() + b"\n")
        process = socket.recv_fds(connection, 1, 1)[1][0]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: signal.pidfd_send_signal(process, number))
        os.closerange(0, 3)
        with connection.makefile() as lines:
            lines.readline()  # its id
            code = int(lines.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()

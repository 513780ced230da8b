"""The process of which the commands of tests are forks: `python fork_server.py SOCKET`. `prestarted.Prestarted` starts it.

With the arguments `--serve SOCKET`, a fork becomes such a process itself.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

NOT_PRELOADED = ("aorch.__main__", "aorch.ledger.generate_statements", "aorch.ledger.queries")
IMPORTED_LATER = (
    *("aiohttp.web", "alembic.command", "encodings.idna", "jsonschema_rs", "platformdirs.unix"),
    *("anyio._backends._asyncio", "h11", "httpcore", "typer._click.decorators"),
    *("anthropic", "openai.resources", "openai.types", "jsonschema"),  # 2.5 s for each command that calls a model
)
"""Modules of other packages that commands import when they need them."""


def serve(address: str) -> list[str]:
    """Fork a process for each request. Returns in the forked one, with its arguments, once it is as a new process.

    Kill a command once its connection is closed, as when its caller was killed. Once standard input is closed, kill those that
    run, and exit.
    """
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(address)
        listening.listen(64)
        selector.register(listening, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        os.write(1, b"ready\n")
        while True:
            (key, _), *_ = selector.select()  # one at a time, since it may close the descriptors of the next
            if key.fileobj is listening:
                if (accepted := _fork(listening, selector)) is not None:
                    break
            elif key.fd == 0:
                for command in (each for each in selector.get_map().values() if isinstance(each.data, tuple)):
                    signal.pidfd_send_signal(command.fd, signal.SIGKILL)
                os._exit(0)
            elif isinstance(key.data, int):
                selector.unregister(key.fileobj)
                signal.pidfd_send_signal(key.data, signal.SIGKILL)
            else:
                _report_end(key, selector)
    request, descriptors = accepted
    _take_over(request, descriptors)
    arguments: list[str] = request["arguments"]
    return arguments


def _fork(listening: socket.socket, selector: selectors.BaseSelector) -> tuple[dict[str, Any], list[int]] | None:
    """Accept a request and fork for it. Returns the request and its descriptors in the forked process, None in this one."""
    connection, _ = listening.accept()
    descriptors = socket.recv_fds(connection, 1, 4)[1]
    request = json.loads(connection.makefile().readline())
    if (pid := os.fork()) == 0:
        for other in (each for each in selector.get_map().values() if isinstance(each.data, tuple)):
            os.close(other.fd)
            other.data[1].close()
        connection.close()
        return request, descriptors
    for descriptor in descriptors:
        os.close(descriptor)
    pidfd = os.pidfd_open(pid)
    with contextlib.suppress(OSError):
        socket.send_fds(connection, [b"."], [pidfd])
        connection.sendall(b"%d\n" % pid)
    selector.register(pidfd, selectors.EVENT_READ, (pid, connection))
    if request["arguments"][:1] != ["--serve"]:  # which ends its own commands
        selector.register(connection, selectors.EVENT_READ, pidfd)
    return None


def _report_end(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    """Send the exit code of a command to its caller."""
    pid, connection = key.data
    selector.unregister(key.fd)
    os.close(key.fd)
    if connection.fileno() in selector.get_map():
        selector.unregister(connection)
    _, status = os.waitpid(pid, 0)
    with connection, contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _take_over(request: dict[str, Any], descriptors: list[int]) -> None:
    """Give this forked process what the command has: directory, descriptors, environment, umask, session and user."""
    os.fchdir(descriptors.pop())
    _enter(request.get("namespaces", []))
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 2)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()  # TZ may differ
    os.umask(request["umask"])
    if request["new_session"]:
        os.setsid()
    if (user := request.get("user")) is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def _enter(namespaces: list[str]) -> None:
    """Enter these namespaces, and the working directory as they show it."""
    if not namespaces:
        return
    folder, libc = Path.cwd(), ctypes.CDLL(None, use_errno=True)
    for namespace in namespaces:
        descriptor = os.open(namespace, os.O_RDONLY)
        if libc.setns(descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)
        os.close(descriptor)
    os.chdir(folder)


def use_huge_pages() -> None:
    """Put the memory of this process into pages of 2 MiB, where the system has them: a fork copies their table entries only,
    which halves its time.
    """
    size, advise, collapse = 2 * 1024 * 1024, 14, 25  # MADV_HUGEPAGE and MADV_COLLAPSE, which Linux has since 6.1
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    private = r"^([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0(?: +\[heap\])?\s*$"
    for start, stop in re.findall(private, Path("/proc/self/maps").read_text(), re.MULTILINE):
        first, last = -(-int(start, 16) // size) * size, int(stop, 16) // size * size
        if first < last and libc.madvise(first, last - first, advise) == 0:
            libc.madvise(first, last - first, collapse)


def end(main: Callable[[], object]) -> NoReturn:
    """Run `main` and end as the interpreter does, but without taking apart every imported module (0.2 s)."""
    code = 0
    try:
        main()
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 0 if stopped.code is None else 1
        if isinstance(stopped.code, str):
            sys.stderr.write(f"{stopped.code}\n")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001  the interpreter prints it
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  waits for threads that are no daemons
    atexit._run_exitfuncs()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except Exception:  # noqa: BLE001  likewise
        code = 120
    os._exit(code & 0xFF)


if __name__ == "__main__":
    if sys.argv[2:] == ["--detached"] and os.fork():
        os._exit(0)  # the other one is nobody's child
    gc.disable()  # what is imported is not garbage
    import aorch

    for module in pkgutil.walk_packages(aorch.__path__, "aorch."):
        if not module.name.startswith(NOT_PRELOADED):
            importlib.import_module(module.name)
    for name in IMPORTED_LATER:
        importlib.import_module(name)
    from aiohttp.web import UrlDispatcher

    from aorch.__main__ import main
    from aorch.cli.main import COMMANDS, command_named
    from aorch.server.application import AGENT_ID
    from aorch.server.route_table import ROUTES

    for name in COMMANDS:
        command_named(name)
    for route in ROUTES:  # so that `re` keeps their patterns
        UrlDispatcher().add_resource(route.path.replace("{agent_id}", AGENT_ID))
    gc.collect()
    gc.freeze()  # what is imported stays shared between the processes
    gc.enable()
    arguments = ["--serve", sys.argv[1]]
    while arguments[:1] == ["--serve"]:
        use_huge_pages()
        arguments = serve(arguments[1])
    if arguments[:1] == ["--script"]:
        sys.argv = arguments[1:]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        warnings.simplefilter("ignore")  # as in a new interpreter, and unlike the commands of a Home
        end(lambda: runpy.run_path(sys.argv[0], run_name="__main__"))
    sys.argv = ["aorch", *arguments]
    end(main)

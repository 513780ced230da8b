"""An MCP server that is a program: messages of one line each over its standard input and output.

Unlike the SDK's own transport, a message may have at most `limit` bytes, and reading it takes time in proportion to its length.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from aorch import jsonio
from aorch.agents import program_process
from aorch.agents.child_watcher import wait_by_pidfd
from aorch.agents.mcp_address import ServerProgram
from aorch.agents.program_process import ProcessStreams

FLUSH_S = 0.5
"""How long the last messages may take until the standard input closes."""
END_S = 2.0
"""How long the program may take to end after that, before it gets TERM."""


@asynccontextmanager
async def program_streams(
    server: ServerProgram, errors: Any, limit: int, on_overflow: Callable[[], None]
) -> AsyncIterator[tuple[Any, Any]]:
    """Start the program, and give the streams of messages that a client of the SDK takes. `errors` is a file for its standard
    error. A message that is longer than `limit` bytes ends the connection, after a call of `on_overflow`.

    With the block ends the program and what it has started: its standard input closes, then it gets TERM, then KILL. Raises
    OSError if it cannot be started.
    """
    wait_by_pidfd()
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(
            lambda: ProcessStreams(limit),
            server.file() or server.words[0],
            *server.words[1:],
            cwd=server.cwd,
            env=server.environment(),
            stderr=errors,
            start_new_session=True,
        )
    )
    async with program_process.nothing_left_of(starting):
        _, process = await asyncio.shield(starting)
        assert process.stdin
        assert process.stdout
        received, incoming = anyio.create_memory_object_stream[Any](0)
        outgoing, to_send = anyio.create_memory_object_stream[SessionMessage](0)
        sent = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(_receive, process.stdout, received, on_overflow)
            group.start_soon(_send, process.stdin, to_send, received, sent)
            try:
                yield incoming, outgoing
            finally:
                with anyio.CancelScope(shield=True):
                    outgoing.close()
                    with anyio.move_on_after(FLUSH_S):
                        await sent.wait()
                    process.stdin.close()
                    await asyncio.wait((process.ended,), timeout=END_S)
                incoming.close()
                group.cancel_scope.cancel()


async def _receive(stdout: asyncio.StreamReader, received: Any, on_overflow: Callable[[], None]) -> None:
    async with received:
        try:
            while True:
                await received.send(_message(await stdout.readuntil()))
        except asyncio.LimitOverrunError:
            on_overflow()
        except (asyncio.IncompleteReadError, ConnectionError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # the program has ended, or the session has


def _message(line: bytes) -> SessionMessage | Exception:
    """The message; the exception that the session ignores if the line is something else, such as a log line.

    A lone surrogate, and bytes that are not UTF-8, become U+FFFD: without its answer, a call would wait until its timeout.
    """
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        text = line.decode("utf-8", "replace")
        whole = jsonio.without_half_pairs(text) or text.encode()
        if whole == line:
            return error
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(whole, by_name=False))
    except ValueError as error:
        return error


async def _send(stdin: asyncio.StreamWriter, to_send: Any, received: Any, sent: anyio.Event) -> None:
    try:
        async with to_send:
            async for each in to_send:
                stdin.write(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await stdin.drain()
    except ConnectionError:  # the program does not read any more
        await received.aclose()
    finally:
        sent.set()

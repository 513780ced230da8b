"""Errors of the OpenAPI document that need a broken or busy machine: raised by the code that raises them in a server."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

from http_example_server import WAIT_S, Json

from aorch import jsonio
from aorch.errors import AorchError
from aorch.ledger.sqlite.connection import as_ledger_error
from aorch.server.limits import ConcurrencyLimit, RateLimit
from aorch.server.problems import problem_response


def body_of(error: AorchError) -> Json:
    """The body that a caller gets for `error`."""
    problem: Json = jsonio.decode(bytes(problem_response(error).body))  # type: ignore[arg-type]
    return problem


def raised(act: Callable[[], object]) -> Json:
    """The body that a caller gets for the error that `act` raises."""
    try:
        act()
    except AorchError as error:
        return body_of(error)
    raise AssertionError(f"{act} raised nothing")


def exceed_rate() -> None:
    limit = RateLimit(10)
    for _ in range(102):
        limit.take("somebody")


def exceed_concurrency() -> None:
    async def enter() -> None:
        limit = ConcurrencyLimit(1000)
        limit.running.update(asyncio.create_task(asyncio.sleep(WAIT_S)) for _ in range(1000))
        limit.enter()

    asyncio.run(enter())


def enter_while_stopping() -> None:
    limit = ConcurrencyLimit(1)
    limit.closing = True
    limit.enter()


def ledger_error(message: str, code: int, name: str) -> AorchError:
    """The error for SQLite's error."""
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return as_ledger_error(Path("/srv/aorch/ledger.db"), error)


def writing() -> list[Json]:
    """The errors of every operation that writes to the ledger."""
    return [
        body_of(ledger_error("database is locked", sqlite3.SQLITE_BUSY, "SQLITE_BUSY")),
        body_of(ledger_error("database or disk is full", sqlite3.SQLITE_FULL, "SQLITE_FULL")),
    ]

"""Followers of a PostgreSQL ledger with several writers: whoever reads after a position misses nothing."""

import asyncio
import sys
import threading
from contextlib import suppress

import psycopg
import pytest

from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.changes import Changes
from aorch.ledger.database import Database
from aorch.ledger.reader import Reader

pytestmark = pytest.mark.torture

WRITERS, EACH = 4, 10_000
WRITER = """
import asyncio, sys
from aorch.config.ledger_location import PostgresUrl
from aorch.ledger.ledger import Ledger
from rows import request

async def write(ledger, share):
    for _ in range(share):
        await ledger.write_request(request())

async def main(ledger):
    await asyncio.gather(*(write(ledger, int(sys.argv[2]) // 50) for _ in range(50)))

ledger = Ledger(PostgresUrl(sys.argv[1]))
asyncio.run(main(ledger))
ledger.close()
"""


class Sql(threading.Thread):
    """Reads the positions after the last one, again and again without a pause."""

    def __init__(self, url: PostgresUrl) -> None:
        super().__init__()
        self.url, self.positions, self.ended = url, [0], threading.Event()

    def run(self) -> None:
        with psycopg.connect(str(self.url), autocommit=True) as connection:
            is_last = False
            while not is_last:
                is_last = self.ended.is_set()
                sql = "SELECT position FROM contracts WHERE position > %s ORDER BY position LIMIT 500"
                while rows := connection.execute(sql, (self.positions[-1],)).fetchall():
                    self.positions += [position for (position,) in rows]


async def follow(url: PostgresUrl, ended: asyncio.Event) -> list[int]:
    """The positions that a watcher of the change feed leads to, until `ended` and one second after that."""
    positions, woken = [0], asyncio.Event()
    with Database(url) as database, Reader(url) as reader, Changes(database).watcher(woken.set, 0.02):
        while not ended.is_set() or woken.is_set():
            woken.clear()
            _, news = await asyncio.to_thread(reader.news, positions[-1])
            positions += [position for position, _ in news]
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await woken.wait()
    return positions


async def test_followers_miss_no_row_of_four_writers(postgres: PostgresUrl) -> None:
    with Database(postgres) as database:
        database.open_for_writing()
    command = [sys.executable, "-c", WRITER, str(postgres), str(EACH)]
    ended, sql = asyncio.Event(), Sql(postgres)
    sql.start()
    following = [asyncio.create_task(follow(postgres, ended)) for _ in range(2)]
    writers = [
        await asyncio.create_subprocess_exec(*command, env={"PYTHONPATH": ":".join(sys.path)}) for _ in range(WRITERS)
    ]
    assert [await writer.wait() for writer in writers] == [0] * WRITERS
    ended.set()
    sql.ended.set()
    followed = await asyncio.gather(*following)
    await asyncio.to_thread(sql.join)
    with psycopg.connect(str(postgres)) as connection:
        rows = [
            0,
            *(position for (position,) in connection.execute("SELECT position FROM contracts ORDER BY position")),
        ]
    assert len(rows) == WRITERS * EACH + 1
    assert sql.positions == rows
    assert followed == [rows, rows]

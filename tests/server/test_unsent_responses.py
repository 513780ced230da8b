"""Responses that wait for slow clients use a limited amount of memory together."""

import asyncio
import time
from contextlib import ExitStack, closing

import psutil
import pytest
from homes import Home
from rows import pairs, put
from serving import request_unread, serving

from aorch import jsonio
from aorch.server.problems import HttpError
from aorch.server.unsent_responses import UnsentResponses


class Line:
    """A connection whose client reads nothing."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_the_connections_that_have_waited_for_longest_are_closed_if_there_is_no_room() -> None:
    unsent, lines = UnsentResponses(most=10, patience_s=0.0), [Line() for _ in range(4)]
    for line in lines:
        unsent.add(line, 4)
    assert [line.aborted for line in lines] == [True, True, False, False]
    unsent.remove(lines[2])
    unsent.add(lines[2], 6)
    assert not lines[3].aborted


def filled(patience_s: float, room_s: float) -> tuple[UnsentResponses, Line]:
    """Without room, because of one slow client."""
    unsent, slow = UnsentResponses(most=10, patience_s=patience_s, room_s=room_s), Line()
    unsent.add(slow, 11)
    return unsent, slow


async def test_a_page_without_room_is_rejected() -> None:
    unsent, slow = filled(patience_s=60.0, room_s=0.05)
    with pytest.raises(HttpError, match="slow clients"):
        async with unsent.room():
            pass
    assert not slow.aborted


async def test_pages_start_when_a_slow_client_has_taken_its_response() -> None:
    unsent, slow = filled(patience_s=60.0, room_s=60.0)
    asyncio.get_running_loop().call_later(0.01, unsent.remove, slow)
    for _ in range(20):
        async with unsent.room():
            pass
    assert not slow.aborted


async def test_a_page_waits_no_longer_than_the_patience_with_slow_clients() -> None:
    unsent, slow = filled(patience_s=0.05, room_s=60.0)
    async with unsent.room():
        assert slow.aborted


@pytest.mark.torture
def test_pages_that_no_client_reads_use_a_limited_amount_of_memory(own_home: Home) -> None:
    put(own_home.ledger, *pairs(10, payload=jsonio.encode({"text": "x" * 1_000_000})))
    with serving(own_home) as server, ExitStack() as readers:
        resident = psutil.Process(server.process.pid).memory_info().rss
        for _ in range(60):
            readers.enter_context(closing(request_unread(server, "/v1/contracts")))
        until, largest = time.monotonic() + 12, 0
        while time.monotonic() < until:
            assert server.get("/v1/health").status_code == 200
            largest = max(largest, psutil.Process(server.process.pid).memory_info().rss - resident)
        assert largest < 300 * 2**20, "60 pages take 480 MiB"
        assert len(server.get("/v1/contracts").content) > 2**20

"""Answers that take long to compute are shared by equal questions, and repeated for a while."""

import asyncio

import pytest
from waiting import WAIT_S

from aorch.errors import LedgerBusy
from aorch.server.repeated_answers import RepeatedAnswers


class Computation:
    """Counts its runs. Each waits until `go` is set."""

    def __init__(self) -> None:
        self.runs = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> bytes:
        self.runs += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return b"%d" % self.runs


async def test_questions_that_come_while_one_is_computed_share_its_answer() -> None:
    answers, compute = RepeatedAnswers(), Computation()
    asked = [asyncio.ensure_future(answers.answer("q", compute)) for _ in range(3)]
    other = asyncio.ensure_future(answers.answer("other", compute))
    await asyncio.sleep(0)
    asked[0].cancel()  # the client that asked first has left
    await asyncio.sleep(0)
    compute.go.set()
    assert await asyncio.gather(*asked[1:]) == [b"2", b"2"]
    assert (await other, compute.runs) == (b"2", 2)


async def test_an_answer_is_repeated_for_ten_times_as_long_as_it_took() -> None:
    answers, compute = RepeatedAnswers(), Computation()
    first = asyncio.ensure_future(answers.answer("q", compute))
    await asyncio.wait((first,), timeout=0.2)
    compute.go.set()
    assert [await first, await answers.answer("q", compute)] == [b"1", b"1"]
    quick = [await answers.answer("quick", compute)]
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_S
    while (last := await answers.answer("quick", compute)) in quick:
        assert loop.time() < end
        quick.append(last)
        await asyncio.wait((loop.create_future(),), timeout=0.001)
    assert int(last) > int(quick[0])


async def test_an_error_reaches_all_who_wait_and_is_not_repeated() -> None:
    answers, compute = RepeatedAnswers(), Computation()
    compute.error = LedgerBusy("busy")
    compute.go.set()
    both = await asyncio.gather(*(answers.answer("q", compute) for _ in range(2)), return_exceptions=True)
    assert [type(each) for each in both] == [LedgerBusy, LedgerBusy]
    compute.error = None
    assert await answers.answer("q", compute) == b"2"


async def test_a_computation_without_anyone_waiting_leaves_no_error_behind() -> None:
    answers, compute = RepeatedAnswers(), Computation()
    asked = asyncio.ensure_future(answers.answer("q", compute))
    await asyncio.sleep(0)
    asked.cancel()
    compute.error = LedgerBusy("busy")
    compute.go.set()
    await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await asked
    compute.error = None
    assert await answers.answer("q", compute) == b"2"

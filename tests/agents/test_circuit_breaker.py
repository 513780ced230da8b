"""The circuit breaker of an endpoint."""

import asyncio

import pytest
from waiting import wait_for

from aorch.agents.circuit_breaker import FAILURES, CircuitBreaker
from aorch.errors import AgentFailed, AgentLost, AgentUnreachable


def fail(breaker: CircuitBreaker, error: BaseException) -> None:
    with pytest.raises(type(error)), breaker:
        raise error


def opened(open_s: float = 60) -> CircuitBreaker:
    breaker = CircuitBreaker("a", open_s)
    for _ in range(FAILURES):
        assert not breaker.blocks()
        fail(breaker, AgentLost("gone"))
    return breaker


def test_an_open_circuit_lets_no_task_through_and_says_until_when() -> None:
    breaker = opened()
    assert breaker.blocks()
    with (
        pytest.raises(AgentUnreachable, match=r"its last 5 tasks were not answered; the next one is sent at 20"),
        breaker,
    ):
        pytest.fail("it let a task through")


def test_an_answer_of_any_kind_closes_the_circuit() -> None:
    breaker = CircuitBreaker("a")
    for _ in range(FAILURES):
        for _ in range(FAILURES - 1):
            fail(breaker, AgentUnreachable("refused"))
        fail(breaker, AgentFailed("it answered 500"))
    assert not breaker.blocks()


def test_one_task_at_a_time_decides_whether_the_circuit_closes() -> None:
    breaker = opened(open_s=0.3)
    wait_for(lambda: not breaker.blocks())
    with breaker:
        assert breaker.blocks()
        with pytest.raises(AgentUnreachable), breaker:
            pytest.fail("it let a second task through")
    assert not breaker.blocks()
    breaker = opened(open_s=0.3)
    wait_for(lambda: not breaker.blocks())
    fail(breaker, asyncio.CancelledError())
    assert not breaker.blocks(), "a cancelled task decides nothing"
    fail(breaker, AgentLost("gone"))
    assert breaker.blocks()

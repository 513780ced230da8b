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


def test_a_circuit_opens_and_closes_with_that_of_another_process() -> None:
    changes: list[tuple[str | None, str | None]] = []
    breaker, other = opened(open_s=0.3), CircuitBreaker("a")
    breaker.on_change = lambda: changes.append((breaker.until, breaker.since))
    other.hear(breaker.until, breaker.since)
    assert other.blocks()
    assert other.reason() == breaker.reason()
    wait_for(lambda: not breaker.blocks())
    with breaker:  # one task decides, in one process
        other.hear(*changes[-1])
        assert other.blocks()
    other.hear(*changes[-1])
    assert (other.blocks(), changes[-1], len(changes)) == (False, (None, None), 2)


def test_its_form_counts_unanswered_tasks_and_says_until_when_it_is_open() -> None:
    breaker = CircuitBreaker("a")
    assert breaker.as_dict() == {"unanswered": 0, "open_until": None}
    fail(breaker, AgentUnreachable("refused"))
    assert breaker.as_dict() == {"unanswered": 1, "open_until": None}
    breaker = opened()
    form = breaker.as_dict()
    assert form["unanswered"] == FAILURES
    assert f"is sent at {form['open_until']} or later" in breaker.reason()

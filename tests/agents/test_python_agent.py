"""Python agents: what they may raise, return and block."""

import signal
import subprocess

import pytest
from homes import Home
from python_agents import agent, python, response
from waiting import WAIT_S, wait_for


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('the reason')", "ValueError: the reason (mine.py, line 11)"),
        ("sys.exit('leave')", "SystemExit('leave') (mine.py, line 11)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt() (mine.py, line 11)"),
        ("raise StopIteration", "StopIteration"),
        ("raise asyncio.CancelledError", "cancelled itself"),
        ("raise Unspeakable", "Unspeakable"),
    ],
)
def test_whatever_an_agent_raises_is_a_failure_that_says_where(home: Home, body: str, said: str, sync: bool) -> None:
    if sync and "Cancelled" in body:
        said = "CancelledError"
    agent(home, body, sync=sync, before="class Unspeakable(Exception): __str__ = None")
    done = home.aorch("run", "work")
    assert (done.code, done.out) == (10, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert response(home)[:2] == ("failed", "failed")
    assert said in response(home)[2]


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize(
    ("body", "sync"),
    [
        ("await asyncio.sleep(60)", False),
        ("time.sleep(60)", True),
        ("try:\n    await asyncio.sleep(60)\nexcept asyncio.CancelledError:\n    return {'success': True}", False),
        ("await asyncio.to_thread(threading.Event().wait, 1)", False),
    ],
    ids=["async", "sync", "answers when cancelled", "in a thread that it waits for"],
)
def test_an_agent_that_hangs_times_out(home: Home, body: str, sync: bool) -> None:
    agent(home, body, sync=sync)
    done = home.aorch("run", "work", "--timeout", "0.3", timeout=WAIT_S)
    assert (done.code, done.err) == (5, "error: work: mine gave no answer within 0.3 s\n")
    assert response(home) == ("failed", "failed", "mine gave no answer within 0.3 s", None)


@pytest.mark.torture
@pytest.mark.usefixtures("no_leftovers")
def test_an_agent_that_swallows_its_cancellation_again_and_again_is_left_alone(home: Home) -> None:
    agent(
        home, "while True:\n    try:\n        await asyncio.sleep(60)\n    except asyncio.CancelledError:\n        pass"
    )
    done = home.aorch("run", "work", "--timeout", "0.3", timeout=20)
    assert (done.code, done.err) == (5, "error: work: mine gave no answer within 0.3 s\n")
    assert response(home)[:2] == ("failed", "failed")


def test_a_thread_that_an_agent_waits_for_does_not_hold_up_the_answer_after_the_timeout(home: Home) -> None:
    agent(home, "await asyncio.to_thread(work)", before="def work(): time.sleep(60); open('finished', 'w').close()")
    assert home.aorch("run", "work", "--timeout", "0.2", timeout=WAIT_S).code == 5
    assert not (home.folder / "finished").exists()


def test_an_async_agent_that_blocks_the_loop_is_interrupted_by_a_second_ctrl_c(home: Home) -> None:
    agent(home, "open('started', 'w').close()\ntime.sleep(20)\nopen('finished', 'w').close()\nreturn {'success': True}")
    running = home.start("run", "work")
    wait_for((home.folder / "started").exists)
    running.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(timeout=0.2)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=WAIT_S)
    assert not (home.folder / "finished").exists()
    assert running.returncode == 130
    assert response(home)[:2] == ("cancelled", "cancelled")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("None", "answered with NoneType"),
        ("'done'", "answered with str"),
        ("['success']", "answered with list"),
        ("{'data': 1}", "answered with dict"),
        ("{'success': 'yes'}", "answered with dict"),
        ("{'success': False}", "no reason given"),
        ("{'success': False, 'error': 'my reason\\x00\\ud800'}", "my reason�"),
        ("{'success': False, 'error': {'code': 7}}", "7"),
        ("{'success': True, 'data': object()}", "cannot be stored"),
        ("{'success': True, 'data': {(1, 2): 3}}", "cannot be stored"),
        ("{'success': True, 'data': lambda: 1}", "cannot be stored"),
        ("(a := [], a.append(a), {'success': True, 'data': a})[2]", "cannot be stored"),
        ("{'success': True, 'data': functools.reduce(lambda a, _: [a], range(5000), '\\x00')}", "cannot be stored"),
    ],
)
def test_an_answer_that_is_invalid_or_cannot_be_stored_is_a_failure(home: Home, answer: str, said: str) -> None:
    agent(home, f"return {answer}")
    done = home.aorch("run", "work")
    assert done.code == 10
    assert said in done.err
    assert "Traceback" not in done.err
    assert response(home)[:2] == ("failed", "failed")
    assert said in response(home)[2]


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ("None", "null"),
        ("[]", "[]"),
        ("{'nan': float('nan'), 'big': 10**30}", '{"nan":null,"big":1000000000000000000000000000000}'),
        ("'a\\x00b\\ud800'", '"a�b�"'),
    ],
)
def test_data_is_kept_as_json(home: Home, data: str, kept: str) -> None:
    agent(home, f"return {{'success': True, 'data': {data}}}")
    assert home.aorch("run", "work").code == 0
    assert response(home) == ("completed", "completed", None, kept)


def test_sync_agents_run_in_threads_side_by_side_and_the_loop_stays_free(home: Home) -> None:
    agent(home, "met.wait(30)\nreturn {'success': True}", sync=True, before="met = threading.Barrier(3)")
    done = python(
        home,
        """
import asyncio
from aorch import Orchestrator

async def main():
    async with Orchestrator() as orchestrator:
        async def ask():
            return await orchestrator.orchestrate(session_id="s", task={"capability": "work"})
        print([answer["success"] for answer in await asyncio.gather(ask(), ask(), ask())])

asyncio.run(main())
""",
    )
    assert (done.out, done.err) == ("[True, True, True]\n", "")

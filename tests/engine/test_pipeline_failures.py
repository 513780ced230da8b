"""A pipeline whose step fails, times out or is interrupted."""

import signal
from pipes import pipeline_home, statuses

import pytest
from homes import Home
from waiting import WAIT_S, wait_for


@pytest.mark.usefixtures("no_leftovers")
def test_a_step_that_fails_stops_the_pipeline_and_cancels_what_runs(home: Home) -> None:
    pipeline_home(
        home,
        '{name = "slow", capability = "hang"}',
        '{name = "wait", capability = "count", needs = [], parameters = {name = "a"}}',
        '{name = "bad", capability = "fail"}',
        '{name = "never", capability = "say"}',
    )
    done = home.aorch("run", "p")
    assert done.code == 10
    assert "error: p: step bad: exit code 3: no such table" in done.err
    assert "aorch contracts resume 01" in done.err
    assert statuses(home) == {
        "p": ["failed", "failed"],
        "hang": ["cancelled", "cancelled"],
        "count": ["completed", "completed"],
        "fail": ["failed", "failed"],
    }


def test_a_step_that_nobody_can_do_has_the_exit_code_of_that(home: Home) -> None:
    pipeline_home(home, '{name = "a", capability = "nope"}')
    done = home.aorch("run", "p")
    assert done.code == 11
    assert "step a: No agent available for capability: nope" in done.err
    checked = home.aorch("agents", "check", "p")
    assert checked.code == 10
    assert checked.out == "p\tno\tno agent has the capability nope\n"


def test_with_continue_the_other_branches_go_on_and_the_pipeline_fails_then(home: Home) -> None:
    pipeline_home(
        home,
        '{name = "bad", capability = "fail", on_error = "continue"}',
        '{name = "after", capability = "say"}',
        '{name = "last", capability = "say"}',
        '{name = "other", capability = "count", needs = [], parameters = {name = "a"}}',
        '{name = "more", capability = "count", parameters = {name = "c"}}',
    )
    done = home.aorch("run", "p")
    assert done.code == 10
    assert "step bad: exit code 3: no such table; skipped, because they need a failed step: after, last" in done.err
    assert statuses(home)["count"] == ["completed"] * 4
    assert "say" not in statuses(home)


def test_with_keep_the_failure_is_the_step_s_result(home: Home) -> None:
    pipeline_home(
        home,
        '{name = "bad", capability = "fail", on_error = "keep"}',
        '{name = "say", capability = "say", parameters = {text = "{steps.bad.success}: {steps.bad.error}"}}',
    )
    done = home.aorch("run", "p")
    assert (done.code, done.out) == (0, "false: step bad: exit code 3: no such table\n")


def test_a_reference_that_leads_nowhere_says_where_and_what_is_there(home: Home) -> None:
    pipeline_home(
        home,
        """{name = "a", capability = "give", parameters = {json = '{"items": [1, 2]}'}}""",
        '{name = "b", capability = "say", parameters = {text = "{steps.a.data.path}"}}',
    )
    done = home.aorch("run", "p")
    assert done.code == 2
    assert "step b: {steps.a.data.path} leads nowhere: steps.a.data has items" in done.err


@pytest.mark.usefixtures("no_leftovers")
def test_a_pipeline_out_of_time_cancels_its_running_steps_and_says_so_in_the_ledger(home: Home) -> None:
    pipeline_home(home, '{name = "slow", capability = "hang"}', more="timeout_s = 1")
    done = home.aorch("run", "p")
    assert done.code == 5
    assert statuses(home) == {"p": ["failed", "failed"], "hang": ["cancelled", "cancelled"]}


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_pipeline_and_its_running_steps(home: Home, number: signal.Signals) -> None:
    pipeline_home(home, '{name = "slow", capability = "hang", for_each = [1, 2, 3], parallel = 2}')
    process = home.start("run", "p")
    wait_for((home.folder / "hanging").exists)
    process.send_signal(number)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 128 + number
    found = statuses(home)
    assert found["p"] == ["cancelled", "cancelled"]
    assert set(found["hang"]) == {"cancelled"}

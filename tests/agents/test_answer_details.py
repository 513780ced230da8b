"""The keys that an agent may add to its answer, and the progress that it reports."""

import json
from typing import Any

from homes import Home
from python_agents import agent

from aorch import report_progress

USAGE = "return {'success': True, 'data': 1, 'model': 'm-1', 'stop_reason': 7, 'usage': {'input': 3, 'output': '4'}}"


def test_what_a_model_used_is_in_the_metadata_of_the_response_and_unknown_is_null(home: Home) -> None:
    agent(home, USAGE)
    assert home.aorch("run", "work").code == 0
    ((text,),) = home.rows("SELECT metadata FROM contracts WHERE request_id IS NOT NULL")
    details: dict[str, Any] = json.loads(text)
    details.pop("duration_ms")
    assert details == {"model": "m-1", "usage": {"input": 3, "output": None, "cached": None}}


def test_progress_outside_of_a_task_goes_nowhere(home: Home) -> None:
    report_progress({"done": 1})
    agent(home, "aorch.report_progress('half')\nreturn {'success': True, 'data': 2}", before="import aorch")
    assert home.aorch("run", "work").out == "2\n"

"""Record the examples of the OpenAPI document: `uv run python docs/record_http_examples.py`.

Starts `aorch serve`, calls every operation, provokes every error that it can, and writes the responses to
aorch/server/openapi_examples.json. Errors that need a broken machine (a full disk, a locked ledger) are raised by the code that
raises them in the server. Ids, times and paths are replaced by fixed ones, so that a second run writes the same file; a test
compares the two.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
from http_example_errors import record_errors
from http_example_server import ECHO, LATER, TRANSLATOR, UNKNOWN_ID, Json, serving

from aorch.server.openapi import EXAMPLES

MOMENT = "2026-01-25T18:18:50.850Z"
FIXED = {"duration_ms": 1.734, "tokens_before": 217, "ratio": 4.34}
"""Figures that differ from run to run."""


def record_answers(folder: Path, aorch: list[str]) -> Json:
    """The response of every operation, from a new ledger with the built-in agent."""
    with serving(folder, aorch) as client:
        post, get = client.post, client.get
        done = post("/v1/orchestrate", json=ECHO).json()
        queued = post("/v1/tasks", json=LATER).json()
        finished = post("/v1/tasks", json={**ECHO, "session_id": "session_002"}).json()
        shown = get(f"/v1/tasks/{finished['contract_id']}", params={"wait_s": 30}).json()
        compressed = post("/v1/compress", json={"session_id": "session_001", "intent": "Testing echo"}).json()
        registered = post("/v1/agents/register", json=TRANSLATOR).json()
        listed = get("/v1/agents").json()
        agent = "/v1/agents/translator"
        memory = "/v1/sessions/session_001/memory"
        return {
            "orchestrate": {"completed": done},
            "submit_task": {"queued": queued},
            "show_task": {"completed": shown},
            "cancel_task": {"cancelled": post(f"/v1/tasks/{queued['contract_id']}/cancel").json()},
            "list_agents": {"agents": listed},
            "show_agent": {"agent": get("/v1/agents/agent_example_001").json()},
            "register_agent": {"registered": registered},
            "heartbeat": {"renewed": post(f"{agent}/heartbeat").json()},
            "check_agent": {"unreachable": post(f"{agent}/check").json()},
            "replace_agent": {"replaced": client.put(agent, json={**TRANSLATOR, "version": "1.1"}).json()},
            "drain_agent": {"draining": post(f"{agent}/drain").json()},
            "deregister_agent": {"ended": client.delete(agent).json()},
            "list_contracts": {"exchange": get("/v1/contracts", params={"session_id": "session_001"}).json()},
            "show_contract": {"REQUEST": get(f"/v1/contracts/{done['contract_id']}").json()},
            "list_sessions": {"sessions": get("/v1/sessions").json()},
            "events": {"event": first_event(client)},
            "compress": {
                "new block": compressed,
                "nothing new": post("/v1/compress", json={"session_id": "session_001"}).json(),
            },
            "show_memory": {"blocks": get(memory).json(), "prompt": get(memory, params={"as": "prompt"}).json()},
            "health": {"healthy": get("/v1/health").json()},
            "status": {"status": get("/v1/status").json()},
            "index": {"endpoints": get("/v1/").json()},
        }


def first_event(client: httpx.Client) -> str:
    """The first event of the stream."""
    with client.stream("GET", "/v1/events", params={"last_event_id": "0"}) as stream:
        text = ""
        for part in stream.iter_text():
            text += part.removeprefix(":\n\n")
            if "\n\n" in text:
                return text.partition("\n\n")[0] + "\n\n"
    raise AssertionError("the stream ended before its first event")


class Normalizer:
    """Replaces what differs from run to run. The ids keep their order and differ from each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._ids: dict[str, str] = {}

    def __call__(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        if isinstance(value, str):
            return self._text(value)
        return FIXED.get(name, value)

    def _text(self, text: str) -> str:
        text = text.replace(self._folder, "/srv/aorch")
        text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lambda found: self._time(found[0]), text)
        text = re.sub(r'"duration_ms":[\d.]+', '"duration_ms":1.734', text)
        text = re.sub(r"\b20\d\d-\d\d-\d\d\b(?!T)", MOMENT[:10], text)
        text = re.sub(r"(?:\b|(?<=mem_))[0-7][0-9A-HJKMNP-TV-Z]{25}\b", lambda found: self._id(found[0]), text)
        return re.sub(r"\[([0-9A-HJKMNP-TV-Z]{4,10})\]", lambda found: f"[{self._suffix(found[1])}]", text)

    def _suffix(self, suffix: str) -> str:
        """The end of the fixed id whose original ends so, which is how a prompt cites a contract."""
        return next((new[-len(suffix) :] for id_, new in self._ids.items() if id_.endswith(suffix)), suffix)

    @staticmethod
    def _time(text: str) -> str:
        return text if text.startswith("2999") else MOMENT

    def _id(self, text: str) -> str:
        known = self._ids.setdefault(text, f"01KFV70HW83SYH1HAX57ZG{len(self._ids) + 1:04}")
        return UNKNOWN_ID if text == UNKNOWN_ID else known


def record(aorch: list[str]) -> str:
    """The text of the file, from servers that the command `aorch` starts."""
    recorded: Json = {}
    for name, take in (("answers", record_answers), ("errors", record_errors)):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory).resolve()
            recorded[name] = Normalizer(folder)(take(folder, aorch))
    (recorded["answers"]["orchestrate"]["failed by the agent"],) = recorded["errors"].pop("agent")
    return json.dumps(recorded, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    EXAMPLES.write_text(record([sys.executable, "-m", "aorch"]), encoding="utf-8")

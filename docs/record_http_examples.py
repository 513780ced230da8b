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
from http_example_server import ECHO, LATER, RENDERER, TRANSLATOR, UNKNOWN_CLAIM, UNKNOWN_ID, Json, serving

from aorch.ids import new_id
from aorch.server.openapi import EXAMPLES

KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
MOMENT = "2026-01-25T18:18:50.850Z"
FIXED = {**dict.fromkeys(("duration_ms", "p50_ms", "p95_ms", "max_ms"), 1.734), "tokens_before": 217, "ratio": 4.34}
"""Figures that differ from run to run."""


def record_answers(folder: Path, aorch: list[str]) -> Json:
    """The response of every operation, from a new ledger with the built-in agent."""
    with serving(folder, aorch) as client:
        post, get = client.post, client.get
        done = post("/v1/orchestrate", json=ECHO).json()
        queued = post("/v1/tasks", json=LATER).json()
        post("/v1/tasks", json=LATER, headers=KEY)
        finished = post("/v1/tasks", json={**ECHO, "session_id": "session_002"}).json()
        shown = get(f"/v1/tasks/{finished['contract_id']}", params={"wait_s": 30}).json()
        compressed = post("/v1/compress", json={"session_id": "session_001", "intent": "Testing echo"}).json()
        worked = work_answers(client)
        registered = post("/v1/agents/register", json=TRANSLATOR).json()
        agent = "/v1/agents/translator"
        checked = post(f"{agent}/check").json()
        listed = get("/v1/agents").json()  # after the check, because the server checks it at some moment itself
        memory = "/v1/sessions/session_001/memory"
        erasable = finished["contract_id"]
        rerun = post(f"/v1/tasks/{erasable}/rerun").json()
        get(f"/v1/tasks/{rerun['contract_id']}", params={"wait_s": 30})  # the figures below count it
        claim = {"claim_id": compressed["memory_block"]["aims"][0]["claim_id"]}
        note = {"session_id": "session_001", "text": "The greeting is final."}
        return {
            "orchestrate": {"completed": done},
            "submit_task": {"queued": queued},
            "show_task": {"completed": shown},
            "cancel_sent_task": {"cancelled": post("/v1/orchestrate/cancel", headers=KEY).json()},
            "show_queue": {"queue": get("/v1/queue").json()},
            "cancel_task": {"cancelled": post(f"/v1/tasks/{queued['contract_id']}/cancel").json()},
            "rerun_task": {"queued": rerun},
            "plan_task": {"plan": post("/v1/orchestrate/plan", json=ECHO).json()},
            **again_answers(client, queued["contract_id"]),
            **worked,
            "list_agents": {"agents": listed},
            "show_agent": {"agent": get("/v1/agents/agent_example_001").json()},
            "register_agent": {"registered": registered},
            "heartbeat": {"renewed": post(f"{agent}/heartbeat").json()},
            "check_agent": {"unreachable": checked},
            "replace_agent": {"replaced": client.put(agent, json={**TRANSLATOR, "version": "1.1"}).json()},
            "drain_agent": {"draining": post(f"{agent}/drain").json()},
            "deregister_agent": {"ended": client.delete(agent).json()},
            "list_exchanges": {"exchanges": get("/v1/exchanges", params={"session_id": "session_001"}).json()},
            "show_exchange": {"exchange": get(f"/v1/exchanges/{done['contract_id']}").json()},
            "list_contracts": {"exchange": get("/v1/contracts", params={"session_id": "session_001"}).json()},
            "show_contract": {"REQUEST": get(f"/v1/contracts/{done['contract_id']}").json()},
            "show_whole_exchange": {"exchange": get(f"/v1/contracts/{done['contract_id']}/exchange").json()},
            "show_tree": {"tree": get(f"/v1/contracts/{done['contract_id']}/tree").json()},
            "find_contract": {"REQUEST": get(f"/v1/contract-ids/{done['contract_id']}").json()},
            "erase_content": {
                "erased": client.delete(f"/v1/contracts/{erasable}/content", params={"reason": "a leaked key"}).json()
            },
            "list_sessions": {"sessions": get("/v1/sessions").json()},
            "show_session": {"session": get("/v1/sessions/session_001").json()},
            "show_session_tree": {"trees": get("/v1/sessions/session_001/tree").json()},
            "stats": {"statistics": get("/v1/stats", params={"session_id": "session_001"}).json()},
            "events": {"event": first_event(client)},
            "compress": {
                "new block": compressed,
                "nothing new": post("/v1/compress", json={"session_id": "session_001"}).json(),
            },
            "show_memory": {"blocks": get(memory).json(), "prompt": get(memory, params={"as": "prompt"}).json()},
            "compress_many": {"event": first_compressed(client)},
            "list_memory_sessions": {"sessions": get("/v1/memory/sessions").json()},
            "show_block": {"block": get(f"/v1/memory/blocks/{compressed['memory_block']['block_id']}").json()},
            "shared_prompt": {"prompt": post("/v1/memory/prompt", json={"sessions": ["session_001"]}).json()},
            "show_changes": {"changes": get("/v1/memory/changes", params={"reference": "session_001"}).json()},
            "verify_memory": {"verified": post("/v1/memory/verify", json={}).json()},
            "list_memory": {"blocks": get("/v1/memory").json()},
            "search_memory": {"claims": get("/v1/memory/search", params={"text": "echo"}).json()},
            "pin_claim": {"pinned": post("/v1/memory/pin", json=claim).json()},
            "forget_claim": {"forgotten": (forgotten := post("/v1/memory/forget", json=claim).json())},
            "add_note": {"noted": post("/v1/memory/note", json=note).json()},
            "list_corrections": {"corrections": get("/v1/memory/corrections").json()},
            "undo_correction": {"undone": client.delete(f"/v1/memory/corrections/{forgotten['contract_id']}").json()},
            "health": {"healthy": get("/v1/health").json()},
            "status": {"status": get("/v1/status").json()},
            "index": {"endpoints": get("/v1/").json()},
        }


def again_answers(client: httpx.Client, cancelled: str) -> Json:
    """The responses about tasks that run again: those of a session with a cancelled task, and a batch."""
    post, get = client.post, client.get
    unfinished = get("/v1/sessions/session_002/unfinished").json()
    resumed = post(f"/v1/tasks/{cancelled}/resume").json()
    get(f"/v1/tasks/{resumed['contract_id']}", params={"wait_s": 30})
    other = unfinished["tasks"][-1]["contract_id"]
    retried = post(f"/v1/tasks/{other}/retry", json={}).json()
    get(f"/v1/tasks/{retried['contract_id']}", params={"wait_s": 30})
    opened = post("/v1/batches", json={"name": "nightly-import"}).json()
    line = {**ECHO, "session_id": "session_004", "key": "1", "line": 1}
    return {
        "list_unfinished": {"tasks": unfinished},
        "resume_task": {"queued": resumed},
        "retry_task": {"queued": retried},
        "open_batch": {"started": opened},
        "run_line": {"completed": post(f"/v1/batches/{opened['generation']}/lines", json=line).json()},
    }


def work_answers(client: httpx.Client) -> Json:
    """The responses that a worker over HTTP gets."""
    post, render = (
        client.post,
        {"session_id": "session_003", "capability": "render", "parameters": {"scene": "harbour"}},
    )
    lease = post("/v1/work/leases", json=RENDERER).json()
    path = f"/v1/work/leases/{lease['lease_id']}"
    first, second = (post("/v1/tasks", json=render).json()["contract_id"] for _ in range(2))
    capacity = {"capability": "render", "free": 2, "agents": {"renderer": {"free": 2, "labels": {"gpu": "yes"}}}}
    claimed = post(f"{path}/claim", json={"capacities": [capacity], "wait_s": 20}).json()
    while len(claimed["tasks"]) < 2:
        claimed = post(f"{path}/claim", json={"capacities": [capacity]}).json()
    one = {**claimed, "tasks": claimed["tasks"][:1]}
    renewed = post(f"{path}/renew", json={"delivery_id": claimed["delivery_id"], "running": [first, second]}).json()
    progress = {"progress": [{"contract_id": first, "progress": {"percent": 50}}]}
    result = {"response_id": new_id(), "agent_id": "renderer", "status": "completed", "result": {"file": "harbour.png"}}
    step = {
        "contract_id": new_id(),
        "from_agent": "renderer",
        "agent_id": "renderer",
        "capability": "render",
        "parameters": {"scene": "sky"},
        "metadata": {"step": "sky"},
    }
    steps, step_id = f"{path}/tasks/{second}/steps", step["contract_id"]
    written = post(steps, json=step).json()
    post(f"{path}/tasks/{step_id}/result", json={**result, "response_id": new_id(), "result": {"file": "sky.png"}})
    answers = {
        "write_step": {"started": written},
        "list_steps": {"steps": client.get(steps, params={"from_agent": "renderer"}).json()},
        "show_step_result": {"result": client.get(f"{steps}/{step_id}").json()},
        "open_lease": {"opened": lease},
        "list_leases": {"leases": client.get("/v1/work/leases").json()},
        "claim_tasks": {"task": one},
        "renew_lease": {"renewed": renewed},
        "report_progress": {"stored": post(f"{path}/progress", json=progress).json()},
        "report_result": {"completed": post(f"{path}/tasks/{first}/result", json=result).json()},
        "release_task": {"queued again": post(f"{path}/tasks/{second}/release", json={"called": False}).json()},
        "end_lease": {"ended": client.delete(path).json()},
    }
    post(f"/v1/tasks/{second}/cancel")
    return answers


def first_event(client: httpx.Client) -> str:
    """The first event of the stream."""
    with client.stream("GET", "/v1/events", params={"last_event_id": "0"}) as stream:
        text = ""
        for part in stream.iter_text():
            text += part.removeprefix(":\n\n")
            if "\n\n" in text:
                return text.partition("\n\n")[0] + "\n\n"
    raise AssertionError("the stream ended before its first event")


def first_compressed(client: httpx.Client) -> str:
    """The first event of a compression of several sessions."""
    response = client.post("/v1/compress/sessions", json={"sessions": ["session_001"]})
    return response.text.partition("\n\n")[0] + "\n\n"


class Normalizer:
    """Replaces what differs from run to run. The ids keep their order and differ from each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._ids: dict[str, str] = {}
        self._claims: dict[str, str] = {}

    def __call__(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        if isinstance(value, str):
            return "9" if name == "newest" else self._text(value)
        return value if value is None else FIXED.get(name, value)

    def _text(self, text: str) -> str:
        text = text.replace(self._folder, "/srv/aorch")
        text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lambda found: self._time(found[0]), text)
        text = re.sub(r'"duration_ms":[\d.]+', '"duration_ms":1.734', text)
        text = re.sub(r"\b20\d\d-\d\d-\d\d\b(?!T)", MOMENT[:10], text)
        text = re.sub(
            r"(?:\b|(?<=mem_)|(?<=era_)|(?<=lease_))[0-7][0-9A-HJKMNP-TV-Z]{25}\b",
            lambda found: self._id(found[0]),
            text,
        )
        text = re.sub(r"\bclm_[a-z2-7]{10}\b", lambda found: self._claim(found[0]), text)
        return re.sub(r"\[([0-9A-HJKMNP-TV-Z]{4,10})\]", lambda found: f"[{self._suffix(found[1])}]", text)

    def _suffix(self, suffix: str) -> str:
        """The end of the fixed id whose original ends so, which is how a prompt cites a contract."""
        return next((new[-len(suffix) :] for id_, new in self._ids.items() if id_.endswith(suffix)), suffix)

    def _claim(self, text: str) -> str:
        known = self._claims.setdefault(text, f"clm_ab2cd3ef4{chr(ord('g') + len(self._claims))}")
        return UNKNOWN_CLAIM if text == UNKNOWN_CLAIM else known

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

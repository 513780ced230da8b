"""Secret parameters over HTTP: answers, progress, the queue and the log."""

import json

from api import ask, problem
from homes import Home
from secret_agents import all_bytes
from serving import serving

SECRET = "correct-horse-battery-staple"
AGENT = """
import asyncio
from contextlib import closing
from aorch import Agent, AgentCapability, report_progress
from aorch.config.settings import ledger_path
from aorch.ledger.database import connect

class Door(Agent):
    is_noted = False

    def __init__(self):
        super().__init__("door", "Door")

    def get_capabilities(self):
        code = {"type": "string", "writeOnly": True}
        return [AgentCapability("open", "", {"type": "object", "properties": {"code": code}})]

    async def execute(self, task):
        code = task["parameters"]["code"]
        for character in f"opening with {code} now.":
            report_progress({"text": character})
            await asyncio.sleep(0)
        with closing(connect(ledger_path())) as ledger:
            while not self.is_noted:  # once, until the progress is in the ledger
                await asyncio.sleep(0.02)
                self.is_noted = ledger.execute("SELECT 1 FROM task_progress").fetchone() is not None
        if code.endswith("!"):
            raise ValueError(f"{code} is wrong")
        return {"success": True, "data": {"used": code}}
"""


def test_neither_answers_progress_the_log_nor_any_file_contain_a_secret(home: Home) -> None:
    home.write("door.py", AGENT)
    home.write("aorch.toml", '[agents.door]\nclass = "door:Door"\n')
    with serving(home, "--log-json") as server:
        answer = ask(server, "open", parameters={"code": SECRET}, headers={"Accept": "text/event-stream"}).text
        assert '"used":"***"' in answer
        pieces = [json.loads(line[6:]) for line in answer.splitlines() if line.startswith("data: ")]
        assert "opening with *** now." in "".join(each["text"] for each in pieces if "text" in each)
        failed = ask(server, "open", parameters={"code": f"{SECRET}!"}).json()
        assert failed["error"].startswith("ValueError: *** is wrong")
        key = {"Idempotency-Key": '"one"'}
        first, again = (ask(server, "open", parameters={"code": SECRET}, headers=key) for _ in range(2))
        assert (first.content, again.headers["Idempotency-Replayed"]) == (again.content, "true")
        other = ask(server, "open", parameters={"code": f"{SECRET}?"}, headers=key)
        assert problem(other, 422, "idempotency_key_reused")
        queued = server.post(
            "/v1/tasks", json={"session_id": "s", "capability": "open", "parameters": {"code": SECRET}}
        )
        assert "'code' of the task for 'open' is secret" in problem(queued, 422, "parameters_invalid")["detail"]
        rerun = server.post(f"/v1/tasks/{failed['contract_id']}/rerun")
        assert "was secret, so its value is not in the ledger" in problem(rerun, 422, "parameters_invalid")["detail"]
        listed = server.get("/v1/contracts").text
    ((fingerprint,),) = home.rows("SELECT fingerprint FROM idempotency_keys")
    assert fingerprint.startswith("hmac:")
    assert SECRET not in answer + listed + server.log
    assert "ValueError" in server.log
    assert SECRET.encode() not in all_bytes(home.ledger, home.folder)


def test_a_body_with_a_secret_that_a_pattern_finds_is_hashed_with_the_key(home: Home) -> None:
    home.write("aorch.toml", '[redact]\npresets = ["aws"]\n')
    with serving(home) as server:
        key = {"Idempotency-Key": '"one"'}
        texts = ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLF")
        first, again, other = (ask(server, "echo", parameters={"text": text}, headers=key) for text in texts)
    assert "[redacted hmac:" in first.text
    assert (first.content, again.headers["Idempotency-Replayed"]) == (again.content, "true")
    assert problem(other, 422, "idempotency_key_reused")
    ((fingerprint,),) = home.rows("SELECT fingerprint FROM idempotency_keys")
    assert fingerprint.startswith("hmac:")

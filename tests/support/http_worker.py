"""A worker over HTTP that a test drives step by step, so that it can be as slow, deaf and forgetful as a real one."""

from typing import Any

import httpx
from serving import Server

from aorch.ids import new_id

RENDERER = {
    "agent_id": "renderer",
    "capabilities": [
        {"name": "render", "parameters": {"text": "string"}},
        {"name": "render_again", "idempotent": True},
    ],
}


class HttpWorker:
    """A lease for the agent `renderer` on `server`, opened when this is made."""

    def __init__(self, server: Server, *, lease_s: float = 60.0, headers: dict[str, str] | None = None) -> None:
        self.client, self.headers = server.client, headers or {}
        body = {"worker": "test", "lease_s": lease_s, "agents": [RENDERER]}
        opened = self.client.post("/v1/work/leases", json=body, headers=self.headers)
        assert opened.status_code == 201, opened.text
        self.lease: dict[str, Any] = opened.json()
        self.path = f"/v1/work/leases/{self.lease['lease_id']}"

    def post(self, path: str, body: Any) -> httpx.Response:
        """A request about this lease."""
        return self.client.post(f"{self.path}/{path}", json=body, headers=self.headers)

    def get(self, path: str, **query: str) -> httpx.Response:
        """A question about this lease."""
        return self.client.get(f"{self.path}/{path}", params=query, headers=self.headers)

    def claim(self, limit: int = 1, wait_s: float = 0, **more: Any) -> httpx.Response:
        """Claim tasks of both capabilities."""
        one = {"free": 32, "agents": {"renderer": {"free": 32}}}
        capacities = [{"capability": "render", **one}, {"capability": "render_again", **one}]
        return self.post("claim", {"capacities": capacities, "limit": limit, "wait_s": wait_s, **more})

    def take(self, limit: int = 1) -> list[str]:
        """Claim and confirm tasks; their ids."""
        claimed = self.claim(limit).json()
        if claimed["tasks"]:
            assert self.renew(claimed["delivery_id"])["confirmed"]
        return [each["request"]["contract_id"] for each in claimed["tasks"]]

    def renew(self, delivery_id: str | None = None, running: list[str] | None = None) -> Any:
        """Renew the lease; the answer."""
        return self.post("renew", {"delivery_id": delivery_id, "running": running or []}).json()

    def report(self, contract_id: str, response_id: str | None = None, **different: Any) -> httpx.Response:
        """Report that a task is completed."""
        usual = {
            "response_id": response_id or new_id(),
            "agent_id": "renderer",
            "status": "completed",
            "result": {"ok": 1},
        }
        return self.post(f"tasks/{contract_id}/result", {**usual, **different})


def queue(server: Server, capability: str = "render", **more: Any) -> str:
    """Queue a task; its id."""
    queued = server.post("/v1/tasks", json={"capability": capability, "session_id": "s", **more})
    assert queued.status_code == 202, queued.text
    return str(queued.json()["contract_id"])


def task(server: Server, contract_id: str) -> Any:
    """What GET /v1/tasks/ID says."""
    return server.get(f"/v1/tasks/{contract_id}").json()

"""The lease of this worker at a server, and the requests about its tasks. Every request can be repeated safely."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aorch.backoff import Backoff
from aorch.client.connection import Query, ServerConnection
from aorch.engine.supervision import Turned
from aorch.errors import AorchError, LeaseLost
from aorch.ledger.attempt import Attempt
from aorch.ledger.task_queue import Capacity
from aorch.ledger.tried_steps import TriedStep

LEASE_S = 30.0
"""The lease ends this many seconds after its last renewal, which happens three times as often."""
POLL_WAIT_S = 20.0
"""How long the server keeps a claim without an answer: proxies close connections that are silent for longer."""
POLL_TIMEOUT_S = POLL_WAIT_S + 10.0
REPORT_TIMEOUT_S = 30.0
CONFIRM_BACKOFF = Backoff(0.2, 2.0, (0.5, 1.5))


class WorkSession:
    """A worker called `name` at the server of `connection`. `offer` returns the agents that it offers.

    Every method raises ServiceUnreachable if the server does not answer, and LeaseLost if the lease has ended: then `on_lost` was
    called before with its tasks, or with those that the lease does not have any more.
    """

    def __init__(
        self,
        connection: ServerConnection,
        name: str,
        offer: Callable[[], list[dict[str, Any]]],
        lease_s: float = LEASE_S,
    ) -> None:
        self._connection, self._name, self._offer, self._lease_s = connection, name, offer, lease_s
        self._opening = asyncio.Lock()
        self.lease_id = ""
        """Empty while there is none."""
        self.most_bytes = 0
        """Maximum size of a report."""
        self.running: set[str] = set()
        """The tasks that were confirmed under this lease and whose result is not being reported."""
        self.on_lost: Callable[[Iterable[str], str], None] = _ignore
        self.on_cancelled: Callable[[Mapping[str, str]], None] = _ignore_cancelled

    async def open(self) -> str:
        """The lease; a new one if there is none."""
        async with self._opening:
            if not self.lease_id:
                body = {"worker": self._name, "lease_s": self._lease_s, "agents": self._offer()}
                opened = await self._connection.post("/v1/work/leases", body, timeout_s=REPORT_TIMEOUT_S)
                self.lease_id, self._lease_s = opened["lease_id"], opened["lease_s"]
                self.most_bytes = opened["max_body_bytes"]
        return self.lease_id

    async def keep(self, turned: Turned) -> None:
        """Renew the lease every third of its time. A loop for supervision.py."""
        while True:
            if self.lease_id:
                with contextlib.suppress(LeaseLost):  # `on_lost` was called
                    await self.renew()
            turned()
            await asyncio.sleep(self._lease_s / 3)

    async def renew(self, delivery_id: str | None = None) -> bool:
        """Renew the lease, and confirm a delivery. Returns whether its tasks can start."""
        lease_id, running = self.lease_id, sorted(self.running)
        body = {"delivery_id": delivery_id, "running": running}
        renewed = await self._send("POST", lease_id, "/renew", body, timeout_s=max(1.0, self._lease_s / 3))
        self.on_cancelled(renewed["cancelled"])
        if lost := [each for each in renewed["lost"] if each in self.running]:
            self.running.difference_update(lost)
            self.on_lost(lost, "the server has given them up")
        return bool(renewed["confirmed"])

    async def claim(
        self, capacities: Sequence[Capacity], limit: int, wait_s: float, known: Iterable[str]
    ) -> tuple[str, str, list[dict[str, Any]]]:
        """Wait up to `wait_s` seconds for tasks, at most `limit`. Returns early if a task is cancelled that is not `known` to be.

        The result is the lease, the delivery and its tasks, which must not start before `confirm`.
        """
        lease_id = await self.open()
        body = {
            "capacities": [_capacity(each) for each in capacities],
            "limit": limit,
            "wait_s": wait_s,
            "cancelled": list(known),
        }
        found = await self._send("POST", lease_id, "/claim", body, timeout_s=wait_s + POLL_TIMEOUT_S - POLL_WAIT_S)
        self.on_cancelled(found["cancelled"])
        return lease_id, found["delivery_id"] or "", found["tasks"]

    async def confirm(self, lease_id: str, delivery_id: str) -> bool:
        """Whether the tasks of that delivery can start. Asks until the server has answered or the lease has ended, because the
        server may have noted the confirmation although its answer was lost.
        """
        failures = 0
        while self.lease_id == lease_id:
            try:
                return await self.renew(delivery_id)
            except LeaseLost:
                return False
            except AorchError:
                failures += 1
                await asyncio.sleep(CONFIRM_BACKOFF.pause_s(failures))
        return False

    async def report(self, lease_id: str, request_id: str, result: Mapping[str, Any]) -> None:
        """Report the result of a task that was claimed under that lease."""
        await self._send("POST", lease_id, f"/tasks/{request_id}/result", result, timeout_s=REPORT_TIMEOUT_S)

    async def release(self, lease_id: str, request_id: str, *, called: bool, due_at: str | None) -> None:
        """Give a task back."""
        body = {"called": called, "due_at": due_at}
        await self._send("POST", lease_id, f"/tasks/{request_id}/release", body, timeout_s=REPORT_TIMEOUT_S)

    async def write_step(self, lease_id: str, contract_id: str, body: Mapping[str, Any]) -> None:
        """Record a step of a task that was claimed under that lease, or that it starts."""
        await self._send("POST", lease_id, f"/tasks/{contract_id}/steps", body, timeout_s=REPORT_TIMEOUT_S)

    async def tried(self, lease_id: str, contract_id: str, from_agent: str) -> list[TriedStep]:
        """The steps of earlier tries of such a task."""
        path, query = f"/tasks/{contract_id}/steps", {"from_agent": from_agent}
        found = await self._send("GET", lease_id, path, None, query=query, timeout_s=REPORT_TIMEOUT_S)
        return [
            TriedStep(
                each["contract_id"],
                each["to_agent"],
                each["capability"],
                each["status"],
                each["running"],
                each["erased"],
                each["key"],
            )
            for each in found["steps"]
        ]

    async def step_result(self, lease_id: str, contract_id: str, step_id: str) -> Any:
        """The result of such a step."""
        path = f"/tasks/{contract_id}/steps/{step_id}"
        return (await self._send("GET", lease_id, path, None, timeout_s=REPORT_TIMEOUT_S))["result"]

    async def note(self, progress: Iterable[tuple[str, Any]], attempts: Iterable[Attempt]) -> None:
        """Report the progress of running tasks, and calls of agents."""
        if self.lease_id:
            body = {
                "progress": [{"contract_id": request_id, "progress": value} for request_id, value in progress],
                "attempts": [_attempt(each) for each in attempts],
            }
            await self._send("POST", self.lease_id, "/progress", body, timeout_s=REPORT_TIMEOUT_S)

    async def end(self) -> None:
        """End the lease: the server queues again what was not started."""
        if lease_id := self.lease_id:
            self.lease_id = ""
            await self._connection.request("DELETE", f"/v1/work/leases/{lease_id}", timeout_s=5.0, retries=0)

    async def _send(
        self, method: str, lease_id: str, path: str, body: Any, *, timeout_s: float, query: Query | None = None
    ) -> Any:
        try:
            reply = await self._connection.request(
                method, f"/v1/work/leases/{lease_id}{path}", query=query, body=body, timeout_s=timeout_s, retries=0
            )
        except LeaseLost as lost:
            if lease_id == self.lease_id and "/tasks/" not in path:
                self._lose(str(lost))
            raise
        return reply.json()

    def _lose(self, reason: str) -> None:
        self.lease_id = ""
        lost, self.running = self.running, set()
        self.on_lost(lost, reason)


def _capacity(capacity: Capacity) -> dict[str, Any]:
    return {
        "capability": capacity.capability,
        "free": capacity.free,
        "agents": {
            name: {
                "free": free,
                "running": capacity.running.get(name, 0),
                "labels": dict(capacity.labels.get(name, {})),
            }
            for name, free in capacity.of_agents.items()
        },
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    form: dict[str, Any] = attempt._asdict()
    form["contract_id"] = form.pop("request_id")
    return form


def _ignore(_: Iterable[str], __: str) -> None:
    pass


def _ignore_cancelled(_: Mapping[str, str]) -> None:
    pass

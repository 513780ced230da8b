"""Tasks on a server: executed, queued, waited for and cancelled by HTTP.

Each write has an idempotency key, so that it can be sent again after a broken connection without being executed twice.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aorch.client.connection import ServerConnection
from aorch.client.problem_errors import UnreadableAnswer, error_in, kind_of
from aorch.client.remote_agents import RemoteAgents
from aorch.client.remote_forms import exchange_in
from aorch.client.server_events import ServerEvent
from aorch.client.server_outage import ServerOutage
from aorch.client.server_session import segment
from aorch.engine.task import Answer, QueueOptions, Task
from aorch.engine.wait_for_all import waited_too_long
from aorch.errors import AorchError, Forbidden, LedgerError, NotFound, ServiceFailed, ServiceUnreachable, StillRunning
from aorch.ids import new_id
from aorch.ledger.reader import Exchange
from aorch.ledger.record import Record
from aorch.ledger.task_queue import OPEN

ASK_AGAIN_S = 0.5
"""Pause before a task that is still running is asked for again, after its connection broke."""
CANCEL_S = 3.0
"""How long a task may take to be cancelled before its caller stops waiting."""
CANCEL_POLL_S = 0.1
LONGEST_WAIT_S = 30.0
"""How long one request waits for a task."""


class RemoteTasks:
    """The tasks of the server of a connection. Every method raises its errors. `on_outage` gets a text for the user when a
    request is repeated for the first time.
    """

    def __init__(self, connection: ServerConnection, on_outage: Callable[[str], None] = lambda _: None) -> None:
        self._connection = connection
        self._on_outage: Callable[[str], None] | None = on_outage
        self.report = on_outage

    async def agents(self) -> RemoteAgents:
        """The agents of the server; none if the token may not read."""
        try:
            return RemoteAgents((await self._connection.get("/v1/agents"))["agents"])
        except Forbidden:
            return RemoteAgents(())

    async def perform(
        self, task: Task, key: str, on_progress: Callable[[Any], None] | None = None
    ) -> tuple[Answer, bool]:
        """Execute a task, and return its answer, and whether it is that of an earlier request with the same `key`.

        Cancelling this does not cancel the task: call `cancel_sent`.
        """
        return await self._answered("/v1/orchestrate", task_body(task), task.capability, key, on_progress)

    async def rerun(self, contract_id: str, key: str, on_progress: Callable[[Any], None] | None = None) -> Answer:
        """Execute the task of a recorded exchange again, and return its answer. The ID is whole."""
        exchange = await self._connection.get(f"/v1/contracts/{segment(contract_id)}")
        path = f"/v1/tasks/{segment(exchange['request_id'] or contract_id)}/rerun"
        return (await self._answered(path, None, exchange["capability"], key, on_progress))[0]

    async def exchange(self, contract_id: str) -> Exchange:
        """The whole exchange of a contract. The ID is whole."""
        return exchange_in(await self._connection.get(f"/v1/contracts/{segment(contract_id)}/exchange"))

    async def resume(self, request: Record, key: str, on_progress: Callable[[Any], None] | None = None) -> Answer:
        """Execute the task of a REQUEST again that did not complete, and return its answer."""
        path = f"/v1/tasks/{segment(request.contract_id)}/resume"
        return (await self._answered(path, None, request.capability, key, on_progress))[0]

    async def retry(self, first_id: str, last_id: str, task: Task, key: str) -> tuple[Answer, bool]:
        """Like `perform` for a failed task, whose first REQUEST and last try have these IDs."""
        body = {"last_try": last_id, "timeout_s": task.timeout_s}
        return await self._answered(f"/v1/tasks/{segment(first_id)}/retry", body, task.capability, key, None)

    async def open_batch(self, name: str, *, resume: bool) -> str:
        """Start a run of a batch, or continue its latest one. Returns the ID of the run. Raises NotFound."""
        opened = await self._connection.post("/v1/batches", {"name": name, "resume": resume})
        return str(opened["generation"])

    async def perform_line(
        self, generation: str, line_key: str | None, task: Task, key: str, *, resume: bool
    ) -> tuple[Answer, bool]:
        """Like `perform` for a line of that run of a batch. The answer may be a recorded one."""
        body = {**task_body(task), "key": line_key, "resume": resume}
        body |= {name: task.annotations[name] for name in ("line", "priority") if name in task.annotations}
        return await self._answered(f"/v1/batches/{generation}/lines", body, task.capability, key, None)

    async def _answered(
        self, path: str, body: Any, capability: str, key: str, on_progress: Callable[[Any], None] | None
    ) -> tuple[Answer, bool]:
        """The answer to a task. After a broken connection it is asked for again."""
        outage, has_arrived, started = ServerOutage(self._say_once), False, time.monotonic()
        while True:
            try:
                async with self._connection.stream("POST", path, body=body, key=key) as events:
                    replayed = events.replayed
                    async for event in events:
                        replayed = replayed or event.name == "replayed"
                        if event.name in ("result", "error"):
                            duration_ms = (time.monotonic() - started) * 1000
                            return self._answer(event, capability, duration_ms), replayed
                        if event.name == "progress" and on_progress is not None:
                            on_progress(event.json())
                raise ServiceFailed(
                    f"the server at {self._connection.address.url} ended the connection without a result"
                )
            except StillRunning:
                outage.end()
                has_arrived, pause_s = True, ASK_AGAIN_S
            except ServiceUnreachable as error:
                if not has_arrived and not isinstance(error, ServiceFailed):
                    raise  # it received nothing, and may never have listened
                has_arrived, pause_s = True, outage.pause_s(error)
            await asyncio.sleep(pause_s)

    def _say_once(self, text: str) -> None:
        """Not again for each task of a batch."""
        if self._on_outage is not None:
            self._on_outage(text)
            self._on_outage = None

    async def plan(self, task: Task) -> dict[str, Any]:
        """How the server would execute `task`, as `plan` of the engine returns it."""
        found: dict[str, Any] = await self._connection.post("/v1/orchestrate/plan", task_body(task))
        return found

    async def submit(self, task: Task, options: QueueOptions, key: str) -> dict[str, Any]:
        """Queue a task, and return its form."""
        body = {**task_body(task), **options.as_dict()}
        found: dict[str, Any] = await self._connection.post("/v1/tasks", body, key=key)
        return found

    async def cancel_sent(self, key: str) -> tuple[str, str] | None:
        """Cancel the task that was sent with that key. Returns its ID and its status after CANCEL_S at most; None if it was not
        recorded.
        """
        found, until = None, time.monotonic() + CANCEL_S
        while time.monotonic() < until:
            try:
                task = await self._connection.post("/v1/orchestrate/cancel", key=key, timeout_s=CANCEL_S, retries=0)
                found = str(task["contract_id"]), str(task["status"])
                if found[1] not in OPEN:
                    return found
            except NotFound:  # it may be written just now
                pass
            await asyncio.sleep(CANCEL_POLL_S)
        return found

    async def wait_for_all(self, parts: list[str], timeout_s: float | None) -> list[Answer]:
        """The answers to the REQUESTs with these IDs, or parts of them. Raises NotFound, and WaitedTooLong after `timeout_s`."""
        whole_ids = [await self.find(part) for part in parts]
        answers = await asyncio.gather(*(self._wait(each, timeout_s) for each in whole_ids))
        missing = [each for each, answer in zip(whole_ids, answers, strict=True) if answer is None]
        if missing:
            raise waited_too_long(missing, timeout_s or 0)
        return [answer for answer in answers if answer is not None]

    async def _wait(self, contract_id: str, timeout_s: float | None) -> Answer | None:
        until = None if timeout_s is None else time.monotonic() + timeout_s
        outage = ServerOutage(self._say_once)
        while True:
            left = LONGEST_WAIT_S if until is None else max(0.0, min(LONGEST_WAIT_S, until - time.monotonic()))
            try:
                task = await self._connection.get(f"/v1/tasks/{segment(contract_id)}", {"wait_s": round(left, 3)})
            except ServiceUnreachable as error:
                pause_s = outage.pause_s(error)
                if until is not None and time.monotonic() + pause_s >= until:
                    raise
                await asyncio.sleep(pause_s)
                continue
            outage.end()
            if task["answer"] is not None:
                return answer_in(task["answer"], task["capability"])
            if until is not None and time.monotonic() >= until:
                return None

    async def cancel_all(self, parts: list[str]) -> tuple[list[tuple[str, str]], list[AorchError]]:
        """Cancel each of these REQUESTs if possible. Returns (id, status) of the cancelled ones and the errors of the others.

        If the server cannot be reached or its ledger fails, that is the last error, and the rest is left alone.
        """
        cancelled: list[tuple[str, str]] = []
        errors: list[AorchError] = []
        for part in parts:
            try:
                contract_id = await self.find(part)
                task = await self._connection.post(f"/v1/tasks/{segment(contract_id)}/cancel")
                cancelled.append((contract_id, str(task["status"])))
            except AorchError as error:
                errors.append(error)
                if isinstance(error, LedgerError | ServiceUnreachable):
                    break
        return cancelled, errors

    async def find(self, part: str) -> str:
        """The ID of the contract whose ID begins or ends with `part`."""
        found = await self._connection.get(f"/v1/contract-ids/{segment(part)}")
        return str(found["contract"]["contract_id"])

    def _answer(self, event: ServerEvent, capability: str, duration_ms: float) -> Answer:
        form = event.json()
        if not isinstance(form, dict) or not form.keys() & {"success", "code"}:
            raise UnreadableAnswer(
                f"the server at {self._connection.address.url} sent an answer that is not one of aorch",
                "Check the URL: does a proxy in front of it change answers?",
            )
        if event.name == "error" and form.get("timestamp") is None:
            raise error_in(self._connection.address.url, form)
        return answer_in(form, capability, duration_ms)


def new_key() -> str:
    """A new idempotency key."""
    return f"aorch-{new_id()}"


def task_body(task: Task) -> dict[str, Any]:
    """The body of a request for `task`; only what differs from the defaults."""
    body = {
        "capability": task.capability,
        "session_id": task.session_id,
        "parameters": task.parameters,
        "context": task.context or None,
        "agent_id": task.agent_id,
        "timeout_s": task.timeout_s,
        "require": task.require or None,
        "from_agent": task.from_agent,
        "parent_id": task.parent_id,
    }
    return {name: value for name, value in body.items() if value is not None}


def answer_in(form: dict[str, Any], capability: str, duration_ms: float = 0.0) -> Answer:
    """An answer, or a problem of a failed task. `duration_ms` is that of the request: the API has none."""
    failure: type[AorchError] | None = None if form["success"] else kind_of(str(form.get("code")))
    return Answer(
        success=form["success"],
        data=form.get("data"),
        error=form["error"],
        contract_id=form["contract_id"],
        agent_id=form["agent_id"],
        session_id=form["session_id"],
        timestamp=form["timestamp"],
        duration_ms=duration_ms,
        failure=failure,
        hint=form.get("cli_hint") or form.get("hint") or "",
        exit_code=form.get("exit_code"),
        stderr=form.get("stderr"),
        stdout=form.get("stdout"),
        reused=form.get("reused"),
        capability=capability,
    )

"""The steps of pipelines that a worker without access to the ledger executes: their contracts are written by the server."""

import asyncio
import itertools
from asyncio import Future
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from aorch.client.problem_errors import FinalFailure
from aorch.client.work_forms import refusal_of, step_of
from aorch.client.work_session import CONFIRM_BACKOFF, REPORT_TIMEOUT_S, WorkSession
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import (
    AorchError,
    Conflict,
    LedgerError,
    LedgerOutcomeUnknown,
    LedgerTooNew,
    NotAuthorised,
    NotFound,
    UsageError,
)
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import Record
from aorch.ledger.task_keys import TaskKey
from aorch.ledger.tried_steps import TriedStep

PERMANENT = (Conflict, UsageError, NotAuthorised, NotFound)
"""After these errors the server will never accept the same request."""
MOST_REFUSALS = 30
"""How often a request is sent that a proxy or a fault of the server refuses: about 30 s long."""
Result = TypeVar("Result")


class OpenStep:
    """A step that runs here. `settled` is done once the server has accepted or refused its REQUEST, and `ended` once the server
    knows its RESPONSE, or there will be none.
    """

    def __init__(self, request: Record, lease_id: str) -> None:
        loop = asyncio.get_running_loop()
        self.request, self.lease_id, self.is_recorded = request, lease_id, False
        self.settled: Future[None] = loop.create_future()
        self.ended: Future[None] = loop.create_future()


class RemoteSteps(Ledger):
    """The part of a Ledger that a pipeline's steps use, at the server of `session`.

    While the server cannot be reached, its requests are repeated: the step begins later. They end with the lease.
    """

    def __init__(self, session: WorkSession, path: LedgerLocation) -> None:
        self.path = path
        self.owner_id, self.has_agents = "", False
        self._session = session
        self._lease_of: dict[str, str] = {}
        """The lease of each task that runs here or is in the inbox."""
        self._claimed: dict[str, Record] = {}
        """These tasks, without the steps."""
        self._steps: dict[str, OpenStep] = {}
        self._sending: set[asyncio.Task[None]] = set()

    # What the executor of a step uses

    def write_request(self, request: Record, key: TaskKey | None = None) -> Awaitable[None]:
        """Let the server record the REQUEST of a step. Its `metadata.resumes` is the key."""
        lease_id = self._lease(request.parent_id or "")
        step = self._steps[request.contract_id] = OpenStep(request, lease_id)
        self._lease_of[request.contract_id] = lease_id
        return self._future(self._record(step))

    def write_start(self, request_id: str) -> Awaitable[None]:
        """Let the server record that the agent of a step is called. Claimed tasks are in progress."""
        step = self._steps.get(request_id)
        return asyncio.sleep(0) if step is None else self._future(self._start(step))

    async def write_refused(self, request: Record, response: Record, key: TaskKey | None = None) -> None:
        """Let the server record a step for which no agent is called."""
        lease_id, body = self._lease(request.parent_id or ""), {**step_of(request), "refusal": refusal_of(response)}
        await self._repeated(lambda: self._session.write_step(lease_id, request.parent_id or "", body))

    async def tried(self, contract_id: str, from_agent: str) -> list[TriedStep]:
        """The steps of earlier tries of a claimed task, and of a step that is a pipeline."""
        lease_id = self._lease(contract_id)
        return await self._repeated(lambda: self._session.tried(lease_id, contract_id, from_agent))

    async def step_result(self, contract_id: str, step_id: str) -> Any:
        """The data of the RESPONSE to a step of an earlier try."""
        lease_id = self._lease(contract_id)
        return await self._repeated(lambda: self._session.step_result(lease_id, contract_id, step_id))

    def ancestors(self, contract_id: str) -> list[tuple[str, str]]:
        """(contract_id, capability) of a task that runs here and of those above it up to the claimed one. The server checks the
        ones above that.
        """
        found, above = [], self._request(contract_id)
        while above is not None:
            found.append((above.contract_id, above.capability))
            above = self._request(above.parent_id or "")
        return found

    def agent_of(self, contract_id: str) -> str | None:
        """The agent of a task that runs here."""
        request = self._request(contract_id)
        return None if request is None else request.to_agent

    def payload(self, contract_id: str) -> str | None:
        """The payload of a task that runs here."""
        request = self._request(contract_id)
        return None if request is None else request.payload

    def response_id(self, request_id: str) -> str | None:
        """None: only the server knows it."""
        return None

    # What reports to the server use

    async def _steps_ended(self, request_id: str) -> None:
        """Wait until the server knows how the steps of that task ended: its next try must not find them running."""
        ended = [each.ended for each in self._steps.values() if each.request.parent_id == request_id]
        if ended:
            await asyncio.wait(ended, timeout=REPORT_TIMEOUT_S)

    async def _is_unrecorded(self, request_id: str) -> bool:
        """Whether that is a step whose REQUEST the server has not accepted; waits until that is known."""
        if (step := self._steps.get(request_id)) is None:
            return request_id not in self._lease_of
        await asyncio.wait((step.settled,))
        return not step.is_recorded

    def _end_step(self, request_id: str) -> None:
        if (step := self._steps.pop(request_id, None)) is not None:
            self._lease_of.pop(request_id, None)
            step.ended.set_result(None)

    async def _record(self, step: OpenStep) -> None:
        parent_id, body = step.request.parent_id or "", step_of(step.request)
        try:
            await self._repeated(lambda: self._session.write_step(step.lease_id, parent_id, body))
            step.is_recorded = True
        finally:
            step.settled.set_result(None)
            if not step.is_recorded:
                self._end_step(step.request.contract_id)

    async def _start(self, step: OpenStep) -> None:
        parent_id, body = step.request.parent_id or "", {**step_of(step.request), "waits": False}
        try:
            await self._repeated(lambda: self._session.write_step(step.lease_id, parent_id, body))
        except PERMANENT:  # the lease has ended
            self._end_step(step.request.contract_id)
            raise

    def _request(self, contract_id: str) -> Record | None:
        step = self._steps.get(contract_id)
        return self._claimed.get(contract_id) if step is None else step.request

    def _lease(self, request_id: str) -> str:
        """The lease of a task that runs here."""
        return self._lease_of.get(request_id, self._session.lease_id)

    async def _repeated(self, send: Callable[[], Awaitable[Result]]) -> Result:
        """The result of a request that can be repeated, once the server answers. Raises its errors."""
        for failures in itertools.count(1):
            try:
                return await send()
            except (LedgerOutcomeUnknown, LedgerTooNew):  # the repetition tells, or a newer server takes it
                pass
            except (*PERMANENT, LedgerError):
                raise
            except AorchError as error:
                if isinstance(error, FinalFailure) and failures >= MOST_REFUSALS:
                    raise LedgerError(str(error), error.hint) from error
            await asyncio.sleep(CONFIRM_BACKOFF.pause_s(failures))
        raise AssertionError  # the loop ends with a result or an error

    def _future(self, request: Coroutine[Any, Any, None]) -> Future[None]:
        """A future for `request`, whose waiter may give up while it continues."""
        future: Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(request)
        self._sending.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._sending.discard(done)
            error = None if done.cancelled() else done.exception()
            if future.done():
                return
            if done.cancelled():
                future.cancel()
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(None)

        task.add_done_callback(ended)
        return future

"""A pipeline: an agent whose one capability is performed by the agents of its steps.

Each step is an exchange of its own, below the pipeline's REQUEST (`parent_id`), with `metadata.step` (and `metadata.index`
within a fan-out). Before one is asked for, the ledger is: what an earlier try of the same REQUEST (its process died), or of
those that it resumes, completed with the same parameters is taken over, and only the rest is done.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from aorch import jsonio
from aorch.agents import Agent, AgentCapability
from aorch.agents.parameters import json_schema
from aorch.config import settings, templates
from aorch.config.pipeline_config import PipelineConfig, Step, needs_of
from aorch.engine.invocation import Call, current_call
from aorch.engine.task import Answer, Task
from aorch.errors import AgentCancelled, AgentFailed, AorchError, Conflict, ReferenceInvalid, UsageError
from aorch.ledger.record import COMPLETED
from aorch.ledger.task_keys import RetryKey

__all__ = ["Pipeline", "Step"]


class Pipeline(Agent):
    """Steps as one capability, which has the pipeline's name.

    `parameters` says what it takes, as of any capability; what has a `default` in its JSON Schema need not be given.
    `result` is the template of its data (None: the last step's data). Raises ConfigInvalid, which names the step, for what
    could never work.
    """

    kind = "pipeline"
    grace_s = None  # it ends as soon as its steps have, and each of those has its limit

    def __init__(
        self,
        name: str,
        steps: Sequence[Step],
        *,
        description: str = "",
        parameters: dict[str, Any] | None = None,
        idempotent: bool = False,
        timeout_s: float | None = None,
        result: Any = None,
    ) -> None:
        table = PipelineConfig(list(steps), description, parameters or {}, idempotent, timeout_s, result)
        self.declared = settings.check_pipeline(name, msgspec.to_builtins(table))
        self.needs = needs_of(self.declared)
        super().__init__(name, name, description or " → ".join(step.name for step in self.declared.steps))
        self.timeout_s = timeout_s

    @classmethod
    def of(cls, name: str, declared: PipelineConfig) -> "Pipeline":
        """The pipeline that aorch.toml declares under that name."""
        return cls(name, **{field: getattr(declared, field) for field in declared.__struct_fields__})

    def get_capabilities(self) -> list[AgentCapability]:
        """One, of the pipeline's own name."""
        declared = self.declared
        return [AgentCapability(self.name, self.description, declared.parameters, declared.idempotent)]

    def asks_for(self) -> list[str]:
        """What its steps ask for."""
        return [step.capability for step in self.declared.steps]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Perform the steps; the pipeline's data. Raises the failure of a step, with its name before the reason."""
        call = current_call.get()
        if call is None:
            raise UsageError("a pipeline is performed by an Orchestrator", "Register it, and call it by its name.")
        try:
            return {"success": True, "data": await _Course(self, call, task).perform()}
        except UsageError:
            raise
        except AorchError as failure:
            again = f"Mended, it goes on from there: aorch contracts resume {task['task_id']}"
            raise type(failure)(str(failure), f"{failure.hint} {again}".strip()) from failure


@dataclass(frozen=True, slots=True)
class _Earlier:
    """An exchange of an earlier try."""

    contract_id: str
    to_agent: str | None
    completed: bool
    running: bool


@dataclass(slots=True)
class _Result:
    """What came of one task of a step."""

    data: Any = None
    failure: AorchError | None = None
    contract_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form in which a template sees it."""
        error = None if self.failure is None else str(self.failure)
        return {"data": self.data, "success": self.failure is None, "error": error, "contract_id": self.contract_id}


class _Course:
    """One performance of a pipeline: its steps, each as soon as all that it needs have ended."""

    def __init__(self, pipeline: Pipeline, call: Call, task: dict[str, Any]) -> None:
        self.pipeline = pipeline
        self.call = call
        self.task = task
        self.steps: dict[str, dict[str, Any]] = {}
        self.scope = {"input": {**_defaults(pipeline), **task["parameters"]}, "steps": self.steps}
        self.over = {step.name: asyncio.Event() for step in pipeline.declared.steps}
        self.failed: dict[str, AorchError] = {}
        self.skipped: list[str] = []
        self.earlier = self._earlier()
        if self.earlier or "resumes" in task.get("metadata", {}):
            call.about["reused"] = []

    async def perform(self) -> Any:
        """The pipeline's data. Cancelled, or after a failure that stops it, it ends once every running step has."""
        try:
            async with asyncio.TaskGroup() as group:
                for step in self.pipeline.declared.steps:
                    group.create_task(self._in_turn(step))
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        if self.failed:
            raise self._told()
        declared = self.pipeline.declared
        if declared.result is not None:
            return templates.fill(declared.result, self.scope)
        return self.steps[declared.steps[-1].name]["data"]

    async def _in_turn(self, step: Step) -> None:
        needs = self.pipeline.needs[step.name]
        for need in needs:
            await self.over[need].wait()
        if any(need not in self.steps for need in needs):
            self.skipped.append(step.name)
        else:
            await self._do(step)
        self.over[step.name].set()

    async def _do(self, step: Step) -> None:
        try:
            if step.for_each is None:
                result = await self._ask(step, self.scope, None)
                seen, failure = result.as_dict(), result.failure
            else:
                seen, failure = await self._fan_out(step)
        except ReferenceInvalid as error:
            failure = ReferenceInvalid(f"step {step.name}: {error}", error.hint)
            seen = _Result(failure=failure).as_dict()
        if failure is None or step.on_error == "keep":
            self.steps[step.name] = seen
        elif step.on_error == "continue":
            self.failed[step.name] = failure
        else:
            raise failure

    async def _fan_out(self, step: Step) -> tuple[dict[str, Any], AorchError | None]:
        """The step for each item, `parallel` of them at a time; in the order of the items."""
        items = templates.fill(step.for_each, self.scope)
        if not isinstance(items, list):
            raise ReferenceInvalid(f"for_each needs a list, and {step.for_each} is {jsonio.encode(items)[:60]}")
        results: list[_Result] = [_Result()] * len(items)
        left = iter(enumerate(items))

        async def work() -> None:
            for index, item in left:
                results[index] = await self._ask(step, {**self.scope, "item": item, "index": index}, index)
                failure = results[index].failure
                if failure is not None and step.on_error == "stop":
                    raise failure

        async with asyncio.TaskGroup() as group:
            for _ in range(min(step.parallel, len(items))):
                group.create_task(work())
        failures = [result.failure for result in results if result.failure is not None]
        failure = _of_items(failures, len(items)) if failures else None
        seen = {
            "data": [result.data for result in results],
            "success": not failures,
            "error": None if failure is None else str(failure),
            "items": [result.as_dict() for result in results],
        }
        return seen, failure

    async def _ask(self, step: Step, scope: dict[str, Any], index: int | None) -> _Result:
        """One task of a step: what an earlier try made of it, else an exchange."""
        where = f"step {step.name}" if index is None else f"step {step.name}, item {index}"
        try:
            parameters = templates.fill(step.parameters, scope)
            if not isinstance(parameters, dict):
                raise ReferenceInvalid(f"{step.parameters} must be an object, not {jsonio.encode(parameters)[:60]}")
        except ReferenceInvalid as error:
            return _Result(failure=ReferenceInvalid(f"{where}: {error}", error.hint))
        while (before := self._before(step, parameters, index)) is not None:
            if before.completed:
                await asyncio.sleep(0)  # ten thousands of them must not hold up the loop
                self.call.about["reused"].append(before.contract_id)
                return _Result(self.call.exchanges.ledger.result(before.contract_id), None, before.contract_id)
            if before.running:
                hint = f"Wait for its end: aorch contracts wait {before.contract_id}"
                return _Result(failure=Conflict(f"{where}: it is being done already ({before.contract_id})", hint))
            try:
                return await self._exchange(step, parameters, index, before, where)
            except Conflict:  # that step alone was resumed a moment earlier
                self.earlier = self._earlier()
        return await self._exchange(step, parameters, index, None, where)

    def _before(self, step: Step, parameters: dict[str, Any], index: int | None) -> _Earlier | None:
        if not self.earlier:
            return None
        before = self.earlier.get(_key(step.name, index, step.capability, jsonio.encode(parameters)))
        return None if before and step.agent_id not in (None, before.to_agent) else before

    def _earlier(self) -> dict[bytes, _Earlier]:
        """By `_key`, what earlier tries asked for: the last one that completed, else the last one, which may run still."""
        found: dict[bytes, _Earlier] = {}
        ledger = self.call.exchanges.ledger
        for contract_id, to_agent, capability, payload, status, running, metadata in ledger.tried(
            self.task["task_id"], self.pipeline.agent_id
        ):
            about = jsonio.decode(metadata)
            key = _key(about.get("step"), about.get("index"), capability, payload)
            if status == COMPLETED or key not in found or not found[key].completed:
                found[key] = _Earlier(contract_id, to_agent, status == COMPLETED, bool(running))
        return found

    async def _exchange(
        self, step: Step, parameters: dict[str, Any], index: int | None, before: _Earlier | None, where: str
    ) -> _Result:
        """Raises Conflict if `before` has been tried again already."""
        about = {"step": step.name, **({} if index is None else {"index": index})}
        task = Task(
            capability=step.capability,
            parameters=parameters,
            session_id=self.task["session_id"],
            context=self.task["context"],
            agent_id=step.agent_id,
            timeout_s=step.timeout_s,
            from_agent=self.pipeline.agent_id,
            parent_id=self.task["task_id"],
            metadata=about if before is None else {**about, "resumes": before.contract_id},
            idempotency=None if before is None else RetryKey(before.contract_id),
        )
        answer = await self._performed(task, in_line=index is not None)
        if answer is None:
            return _Result(failure=AgentFailed(f"{where}: cancelled"))
        if answer.failure is None:
            return _Result(answer.data, None, answer.contract_id)
        kind = AgentFailed if answer.failure is AgentCancelled else answer.failure
        return _Result(None, kind(f"{where}: {answer.error}", answer.hint), answer.contract_id)

    async def _performed(self, task: Task, *, in_line: bool) -> Answer | None:
        """The answer; None where that task alone was cancelled, by somebody else."""
        performing = asyncio.ensure_future(self.call.exchanges.perform(task, in_line=in_line))
        try:
            return await performing
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is None or me.cancelling():
                raise
            return None

    def _told(self) -> AorchError:
        """The failure of a pipeline whose steps went on as far as they could."""
        (_, first), *others = self.failed.items()
        more = f"; {', '.join(name for name, _ in others)} failed as well" if others else ""
        more += f"; skipped, for want of what failed: {', '.join(self.skipped)}" if self.skipped else ""
        return type(first)(f"{first}{more}", first.hint)


def _key(step: Any, index: Any, capability: str, payload: str) -> bytes:
    """What makes two tasks of a pipeline the same; a digest, since there may be ten thousands of long ones."""
    return hashlib.sha256(f"{jsonio.encode([step, index, capability])}{payload}".encode()).digest()


def _of_items(failures: list[AorchError], items: int) -> AorchError:
    first = failures[0]
    return first if items == 1 else type(first)(f"{first} ({len(failures)} of {items} items failed)", first.hint)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _defaults(pipeline: Pipeline) -> dict[str, Any]:
    """What the pipeline's JSON Schema says of parameters that are not given."""
    properties = json_schema(pipeline.declared.parameters).get("properties", {})
    said = properties.items() if isinstance(properties, dict) else ()
    return {name: each["default"] for name, each in said if isinstance(each, dict) and "default" in each}

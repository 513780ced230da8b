"""A pipeline: an agent with one capability, which it executes by calling the agents of its steps.

Each step is a separate exchange, below the pipeline's REQUEST (`parent_id`), with `metadata.step` (and `metadata.index`
within a fan-out). Before each step the ledger is searched for earlier attempts: of the same REQUEST (if its process died),
or of a REQUEST that it resumes. If one of them completed the step with the same parameters, its result is reused.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from aorch import jsonio
from aorch.agents import Agent, AgentCapability
from aorch.agents.parameters import json_schema
from aorch.config import settings, templates
from aorch.config.pipeline_config import PipelineConfig, Step, needs_of
from aorch.engine.invocation import Invocation, current_invocation
from aorch.engine.task import Answer, Task
from aorch.errors import (
    AgentCancelled,
    AgentFailed,
    AorchError,
    Conflict,
    ContentErased,
    ReferenceInvalid,
    UsageError,
)
from aorch.ledger.record import COMPLETED
from aorch.ledger.task_keys import RetryKey
from aorch.ledger.tried_steps import TriedStep, step_key

__all__ = ["Pipeline", "Step"]


class Pipeline(Agent):
    """Steps as one capability, which has the pipeline's name.

    `parameters` declares its parameters, as for any capability; one with a `default` in its JSON Schema is optional.
    `result` is the template of its data (None: the last step's data). Raises ConfigInvalid, which names the step, if the
    steps can never work.
    """

    kind = "pipeline"
    grace_s = None  # no timeout of its own: it ends with its steps, which have timeouts

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
        """The pipeline that aorch.toml declares as `name`."""
        return cls(name, **{field: getattr(declared, field) for field in declared.__struct_fields__})

    def get_capabilities(self) -> list[AgentCapability]:
        """One capability, named after the pipeline."""
        declared = self.declared
        return [AgentCapability(self.name, self.description, declared.parameters, declared.idempotent)]

    def asks_for(self) -> list[str]:
        """The capabilities of its steps."""
        return [step.capability for step in self.declared.steps]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run the steps and return the pipeline's data. Raises the failure of a step, prefixed with the step's name."""
        invocation = current_invocation.get()
        if invocation is None:
            raise UsageError("a pipeline needs an Orchestrator to run it", "Register it, and call it by its name.")
        try:
            return {"success": True, "data": await _Run(self, invocation, task).perform()}
        except UsageError:
            raise
        except AorchError as failure:
            resume = f"Fix the cause, then continue with `aorch contracts resume {task['task_id']}`."
            raise type(failure)(str(failure), f"{failure.hint} {resume}".strip()) from failure


@dataclass(slots=True)
class _Result:
    """The result of one task of a step."""

    data: Any = None
    failure: AorchError | None = None
    contract_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form that templates refer to."""
        error = None if self.failure is None else str(self.failure)
        return {"data": self.data, "success": self.failure is None, "error": error, "contract_id": self.contract_id}


class _Run:
    """One run of a pipeline: each step starts as soon as all steps that it needs have ended."""

    def __init__(self, pipeline: Pipeline, invocation: Invocation, task: dict[str, Any]) -> None:
        self.pipeline = pipeline
        self.invocation = invocation
        self.task = task
        self.steps: dict[str, dict[str, Any]] = {}
        self.scope = {"input": {**_defaults(pipeline), **task["parameters"]}, "steps": self.steps}
        self.done = {step.name: asyncio.Event() for step in pipeline.declared.steps}
        self.failed: dict[str, AorchError] = {}
        self.skipped: list[str] = []
        self.erased: dict[str, str] = {}
        self.earlier: dict[str, TriedStep] = {}

    async def perform(self) -> Any:
        """Return the pipeline's data. If it is cancelled or a step fails, it ends once every running step has ended."""
        await self._read_earlier()
        if self.earlier or "resumes" in self.task.get("metadata", {}):
            self.invocation.details["reused"] = []
        try:
            async with asyncio.TaskGroup() as group:
                for step in self.pipeline.declared.steps:
                    group.create_task(self._when_ready(step))
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        if self.failed:
            raise self._failure()
        declared = self.pipeline.declared
        if declared.result is not None:
            return templates.fill(declared.result, self.scope)
        return self.steps[declared.steps[-1].name]["data"]

    async def _when_ready(self, step: Step) -> None:
        needs = self.pipeline.needs[step.name]
        for need in needs:
            await self.done[need].wait()
        if any(need not in self.steps for need in needs):
            self.skipped.append(step.name)
        else:
            await self._run_step(step)
        self.done[step.name].set()

    async def _run_step(self, step: Step) -> None:
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
        """Run the step for each item, `parallel` of them at a time; the results are in the order of the items."""
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
        """Run one task of a step, or reuse the result of an earlier attempt."""
        where = f"step {step.name}" if index is None else f"step {step.name}, item {index}"
        try:
            parameters = templates.fill(step.parameters, scope)
            if not isinstance(parameters, dict):
                raise ReferenceInvalid(f"{step.parameters} must be an object, not {jsonio.encode(parameters)[:60]}")
        except ReferenceInvalid as error:
            return _Result(failure=ReferenceInvalid(f"{where}: {error}", error.hint))
        while (before := self._before(step, parameters, index)) is not None:
            if before.status == COMPLETED:
                await asyncio.sleep(0)  # tens of thousands of items must not block the loop
                data = await self.invocation.executor.ledger.step_result(self.task["task_id"], before.contract_id)
                self.invocation.details["reused"].append(before.contract_id)
                return _Result(data, None, before.contract_id)
            if before.is_running:
                hint = f"Wait for it with `aorch contracts wait {before.contract_id}`."
                return _Result(failure=Conflict(f"{where}: it is already running ({before.contract_id})", hint))
            try:
                return await self._exchange(step, parameters, index, before, where)
            except Conflict:  # that step was resumed on its own a moment earlier
                await self._read_earlier()
        if (contract_id := self.erased.get(step.capability)) is not None:
            lost = f"{where}: it may have completed before, as {contract_id}, whose content was erased"
            return _Result(failure=ContentErased(lost, "Run the pipeline again as a new task."))
        return await self._exchange(step, parameters, index, None, where)

    def _before(self, step: Step, parameters: dict[str, Any], index: int | None) -> TriedStep | None:
        if not self.earlier:
            return None
        payload = self.invocation.executor.stored_payload(
            Task(step.capability, parameters, self.task["session_id"], agent_id=step.agent_id)
        )
        before = self.earlier.get(step_key(step.name, index, step.capability, payload))
        return None if before and step.agent_id not in (None, before.to_agent) else before

    async def _read_earlier(self) -> None:
        """Find the exchanges of earlier attempts: the last completed one of each key, otherwise the last one, which may still
        run.
        """
        found: dict[str, TriedStep] = {}
        for each in await self.invocation.executor.ledger.tried(self.task["task_id"], self.pipeline.agent_id):
            if each.is_erased:
                if each.status == COMPLETED:
                    self.erased[each.capability] = each.contract_id
            elif each.status == COMPLETED or each.key not in found or found[each.key].status != COMPLETED:
                found[each.key] = each
        self.earlier = found

    async def _exchange(
        self, step: Step, parameters: dict[str, Any], index: int | None, before: TriedStep | None, where: str
    ) -> _Result:
        """Raises Conflict if `before` has been resumed already."""
        annotations = {"step": step.name, **({} if index is None else {"index": index})}
        task = Task(
            capability=step.capability,
            parameters=parameters,
            session_id=self.task["session_id"],
            context=self.task["context"],
            agent_id=step.agent_id,
            timeout_s=step.timeout_s,
            from_agent=self.pipeline.agent_id,
            parent_id=self.task["task_id"],
            annotations=annotations if before is None else {**annotations, "resumes": before.contract_id},
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
        """The answer; None if that task alone was cancelled, by another caller."""
        performing = asyncio.ensure_future(self.invocation.executor.perform(task, in_line=in_line))
        try:
            return await performing
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is None or me.cancelling():
                raise
            return None

    def _failure(self) -> AorchError:
        """The failure of a pipeline after it ran all the steps that could run."""
        (_, first), *others = self.failed.items()
        more = f"; {', '.join(name for name, _ in others)} also failed" if others else ""
        more += f"; skipped, because they need a failed step: {', '.join(self.skipped)}" if self.skipped else ""
        return type(first)(f"{first}{more}", first.hint)


def _of_items(failures: list[AorchError], items: int) -> AorchError:
    first = failures[0]
    return first if items == 1 else type(first)(f"{first} ({len(failures)} of {items} items failed)", first.hint)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _defaults(pipeline: Pipeline) -> dict[str, Any]:
    """The defaults in the pipeline's JSON Schema."""
    properties = json_schema(pipeline.declared.parameters).get("properties", {})
    said = properties.items() if isinstance(properties, dict) else ()
    return {name: each["default"] for name, each in said if isinstance(each, dict) and "default" in each}

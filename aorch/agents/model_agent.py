"""The agent that calls a model, with the check of its answers and the translation of its failures."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.agents.base import Agent, AgentCapability, AgentState, AgentStatus, AgentTask, AgentUsage, CutOff
from aorch.agents.model_call import (
    ModelAddress,
    ModelAnswerTooLarge,
    ModelError,
    ModelLost,
    ModelRejected,
    ModelUnreachable,
    Question,
    Reply,
)
from aorch.agents.model_client import ModelClient, objects_in, problem_of
from aorch.agents.model_sdk import install_hint, missing_package
from aorch.agents.parameters import undeclared_in, validator_of
from aorch.agents.task_progress import report_progress
from aorch.config import templates
from aorch.errors import (
    AgentBusy,
    AgentFailed,
    AgentLost,
    AgentOutputTooLarge,
    AgentUnreachable,
    ConfigInvalid,
    ParametersInvalid,
    ReferenceInvalid,
)
from aorch.net.probe import connection_problem
from aorch.process.threads import in_thread

CONNECT_S = 3.0
"""How long a check waits for a connection."""
FRESH_S = 60.0
"""How long an accepted connection, or an answer, counts as a check: services check their agents every few seconds."""


class Prompt(NamedTuple):
    """A capability with its prompt, and the JSON Schema of its result (None: the result is text)."""

    capability: AgentCapability
    template: str
    result: dict[str, Any] | None


class ModelAgent(Agent):
    """Asks the model at `address` for each task. `endpoint` is its base URL."""

    kind = "llm"

    def __init__(
        self,
        agent_id: str,
        address: ModelAddress,
        prompts: Sequence[Prompt],
        *,
        system: str = "",
        temperature: float | None = None,
        max_output_tokens: int | None = None,
    ) -> None:
        super().__init__(agent_id, agent_id)
        self.endpoint = address.base_url
        self._address, self._client = address, ModelClient(address)
        self._prompts = {prompt.capability.name: prompt for prompt in prompts}
        self._question = Question("", system, None, max_output_tokens, temperature)
        self._fresh_until = 0.0
        self.secret_env = self.variables()

    def get_capabilities(self) -> list[AgentCapability]:
        """The capabilities that the configuration declares."""
        return [prompt.capability for prompt in self._prompts.values()]

    def variables(self) -> list[str]:
        """The variable of its key."""
        return [self._address.key_env] if self._address.key_env else []

    def problem(self) -> str | None:
        """Names the package that is not installed, the variable that is not set, or the invalid prompt or schema."""
        if reason := problem_of(self._address):
            hint = install_hint(self._address.api) if missing_package(self._address.api) else ""
            return f"{reason}. {hint}".rstrip(". ") if hint else reason
        return next((fault for prompt in self._prompts.values() if (fault := _fault_of(prompt))), None)

    async def probe(self) -> AgentState:
        """Like `problem`, and whether the server accepts a connection. Nothing is sent, so that it costs nothing."""
        if reason := await in_thread(self.problem):
            return AgentState(AgentStatus.ERROR, reason)
        if time.monotonic() >= self._fresh_until:
            url = self._address.connects_to()
            if reason := await connection_problem(url, CONNECT_S):
                return AgentState(AgentStatus.OFFLINE, f"cannot connect to {url}: {reason}")
            self._fresh_until = time.monotonic() + FRESH_S
        return AgentState()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def preview(self, task: AgentTask) -> dict[str, str]:
        """The model, the system prompt if there is one, and the prompt."""
        system = {"system": self._question.system} if self._question.system else {}
        prompt = _filled(self._prompts[task["capability"]], task["parameters"])
        return {"model": str(self._address), **system, "prompt": prompt}

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Ask the model. Its text is progress as it arrives: `{"text": "the next piece"}`."""
        prompt = self._prompts[task["capability"]]
        question = replace(self._question, text=_filled(prompt, task["parameters"]), schema=prompt.result)
        replies: list[Reply] = []
        try:
            data = await self._ask(question, replies)
        except asyncio.CancelledError:
            raise CutOff({**_text_of(replies), **self._reported(replies)}) from None
        except ConfigInvalid as error:
            raise AgentFailed(str(error), error.hint, delivered=False) from error
        except AgentFailed as refused:
            refused.answer = {**_text_of(replies), **self._reported(replies)}
            raise
        except ModelError as error:
            if isinstance(error, ModelUnreachable | ModelLost):
                self._fresh_until = 0.0
            failure = self._failure(error)
            failure.answer = {**_text_of(replies), **self._reported(replies)}
            raise failure from error
        self._fresh_until = time.monotonic() + FRESH_S
        return {"success": True, "data": data, **self._reported(replies)}

    async def _ask(self, question: Question, replies: list[Reply]) -> Any:
        """The data. An object that does not match the schema is asked for once more, with the reason."""
        for last in (False, True):
            reply = Reply(on_text=_report)
            replies.append(reply)
            await self._client.ask(question, reply)
            if reply.is_refused:
                said = f": {jsonio.storable_text(reply.refusal[:200])}" if reply.refusal else ""
                raise AgentFailed(f"{self._address.model} refused to answer{said}")
            if reply.is_cut_off:
                raise AgentFailed(
                    f"the answer of {self._address.model} was cut off (stop reason: {reply.stop_reason})",
                    f"Raise `max_output_tokens` in [agents.{self.agent_id}], unless it is the model's own limit.",
                )
            if reply.is_missing:
                raise AgentFailed(
                    f"{self._address.model} gave no answer (stop reason: {reply.stop_reason})",
                    "Change the prompt so that it asks for text, or choose another model.",
                )
            if question.schema is None:
                return {"text": jsonio.storable_text(reply.text)}
            data, fault = _checked(reply, question.schema)
            if not fault:
                return data
            if last:
                raise AgentFailed(f"the answer of {self._address.model} does not match `result`, twice: {fault}")
            report_progress({"repeated": fault})
            asked = (
                f"Your last answer was invalid: {fault}\nAnswer again, with one JSON object that matches the schema."
            )
            question = replace(question, text=f"{question.text}\n\n{asked}")
        raise AssertionError("the second round returns or raises")

    def _failure(self, error: ModelError) -> AgentFailed:
        """`error` as an error of aorch."""
        table = f"[agents.{self.agent_id}]"
        if isinstance(error, ModelUnreachable):
            hint = f"Check that the server is running, and check `base_url` in {table}."
            return AgentUnreachable(f"cannot reach {self._address}: {error}", hint)
        if isinstance(error, ModelLost):
            return AgentLost(f"lost the connection to {self._address}: {error}")
        if isinstance(error, ModelAnswerTooLarge):
            return AgentOutputTooLarge(str(error))
        if not isinstance(error, ModelRejected):
            return AgentFailed(f"{self._address} sent {error}", f"Check `base_url` in {table}.")
        if error.is_about_key:
            variable = self._address.key_env
            wanted = (
                f"Check the key in {variable}." if variable else f"Name the variable of the key: `key_env` in {table}."
            )
            return AgentFailed(f"{self._address} rejected the API key (HTTP {error.status})", wanted)
        said = f"{self._address} answered HTTP {error.status}: {error}"
        if error.is_busy:
            return AgentBusy(said, retry_after_s=error.retry_after_s)
        if error.status in (502, 504):
            return AgentLost(said)
        return AgentFailed(said, f"Check `model` and `base_url` in {table}." if error.status == 404 else "")

    def _reported(self, replies: list[Reply]) -> dict[str, Any]:
        """The provider, and what the server reported: the model, the stop reason, and the tokens of all replies (None: it did not
        tell all).
        """
        begun = [reply for reply in replies if reply.begun]
        if not begun:
            return {}
        told = {"model": begun[-1].model, "stop_reason": begun[-1].stop_reason}
        usage = AgentUsage(
            input=_sum([reply.usage["input"] for reply in begun]),
            output=_sum([reply.usage["output"] for reply in begun]),
            cached=_sum([reply.usage["cached"] for reply in begun]),
        )
        known = {name: jsonio.storable_text(value) for name, value in told.items() if value}
        return {"provider": self._address.api, **known, "usage": usage}


def _report(text: str) -> None:
    report_progress({"text": jsonio.storable_text(text)})


def _fault_of(prompt: Prompt) -> str | None:
    where = f"the prompt of {prompt.capability.name}"
    try:
        templates.check_encodings(prompt.template)
    except ReferenceInvalid as error:
        return f"{where}: {error}"
    references = list(templates.references(prompt.template))
    for reference in references:
        if reference.variable:
            return f"{where} contains {reference.text}: environment variables cannot be used in a prompt"
    if unknown := undeclared_in(prompt.capability.parameters, {each.path[0]: None for each in references}):
        return f"{where} contains {{{unknown[0]}}}, which its parameters do not declare"
    if prompt.result is not None:
        try:
            validator_of(prompt.result)
        except ValueError as error:
            return f"the result of {prompt.capability.name} is not a valid JSON Schema: {error}"
    return None


def _filled(prompt: Prompt, parameters: Mapping[str, Any]) -> str:
    for reference in templates.references(prompt.template):
        if reference.path and reference.path[0] not in parameters:
            name = reference.path[0]
            raise ParametersInvalid(f"parameter {name!r} is missing: the prompt needs it", f"Add {name}=….")
    return templates.fill_text(prompt.template, parameters)


def _checked(reply: Reply, schema: dict[str, Any]) -> tuple[Any, str]:
    """The object in the reply and an empty string; or None and the place and the reason why it does not match."""
    validator, fault = validator_of(schema), "it contains no JSON object"
    for number, found in enumerate([reply.value] if reply.value is not None else objects_in(reply.text)):
        value = jsonio.decode(jsonio.encode(found))  # without NaN and lone surrogates, as the ledger keeps it
        if validator.is_valid(value):
            return value, ""
        if number == 0:
            error = next(iter(validator.iter_errors(value)))
            place = ".".join(str(step) for step in error.instance_path)
            fault = f"{place}: {error.message}" if place else error.message
    return None, jsonio.storable_text(fault[:500])


def _text_of(replies: list[Reply]) -> dict[str, Any]:
    """The text of the last reply as `data`, if there is any."""
    text = replies[-1].text if replies else ""
    return {"data": {"text": jsonio.storable_text(text)}} if text else {}


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None

"""The model that writes memory blocks: it answers with JSON.

Requests to overloaded servers are retried, and after an invalid answer the question is sent once more.
"""

import asyncio
import random
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from aorch.agents.model_call import (
    ModelAddress,
    ModelError,
    ModelLost,
    ModelRejected,
    ModelUnreachable,
    Question,
    Reply,
)
from aorch.agents.model_client import DROPPABLE, ModelClient, objects_in
from aorch.agents.model_sdk import install_hint, missing_package
from aorch.config.environment import secret
from aorch.config.sections import LlmConfig
from aorch.config.settings import checked_llm
from aorch.errors import ConfigInvalid, ServiceFailed, ServiceUnreachable

ATTEMPTS, LATE_ATTEMPTS = 4, 2
"""Maximum attempts if the server is overloaded or not reachable, and if it does not respond within `timeout_s`."""

LONGEST_WAIT_S = 30.0
_FIRST_WAIT_S = 0.5
_PASSING = frozenset((408, 409, 425, 500, 502, 504))
"""HTTP errors that may pass, besides those of a busy server."""


@dataclass
class Usage:
    """The number of answered requests so far, and the tokens that the server counted."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class LlmClient:
    """The configured model, open inside an `async with` block.

    Raises ConfigInvalid if the environment variable of the key is empty, or if the package of the provider is not installed. The
    key is sent only in a request header and is in no error message.
    """

    def __init__(self, config: LlmConfig) -> None:
        self.config = config = checked_llm(config)
        self.usage = Usage()
        if missing := missing_package(config.provider):
            raise ConfigInvalid(missing, install_hint(config.provider))
        if config.key_env and not secret(config.key_env):
            raise ConfigInvalid(
                f"the environment variable {config.key_env} is empty; it must contain the key of {config.model}",
                f"Set {config.key_env}, or name another variable in `key_env` of [llm].",
            )
        self._address = ModelAddress(config.provider, config.url, config.model, config.key_env, config.proxy)
        self._client = ModelClient(self._address, DROPPABLE | {"temperature"})

    async def __aenter__(self) -> Self:
        await self._client.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def ask(self, system: str, text: str, schema: dict[str, Any], max_output_tokens: int) -> dict[str, Any]:
        """The JSON object that the model answers with. It need not match `schema`.

        If an answer was cut off or contains no JSON object, the question is sent once more. Raises ServiceUnreachable if no
        attempt reached the server, and ServiceFailed if the server refused or gave no usable answer twice.
        """
        question = Question(text, system, schema, max_output_tokens, temperature=0)
        for last in (False, True):
            reply = await self._patiently(question)
            self.usage.requests += 1
            self.usage.tokens_in += reply.usage["input"] or 0
            self.usage.tokens_out += reply.usage["output"] or 0
            if reply.is_refused:
                raise ServiceFailed(f"{self._address} refused to answer")
            answer = None if reply.is_cut_off else _object_in(reply, schema["required"])
            if answer is not None:
                return answer
            if last:
                raise ServiceFailed(f"{self._address} gave {_fault(reply)}, twice")
            question = _again(question, reply)
        raise AssertionError("the second round returns or raises")

    async def _patiently(self, question: Question) -> Reply:
        """Send the question, up to ATTEMPTS times."""
        attempt = 1
        while True:
            reply, wait_s = Reply(), _pause_s(attempt)
            try:
                async with asyncio.timeout(self.config.timeout_s):
                    await self._client.ask(question, reply)
                return reply
            except ModelRejected as rejected:
                wait_s = wait_s if rejected.retry_after_s is None else rejected.retry_after_s
                passes = rejected.is_busy or rejected.status in _PASSING
                if not passes or attempt >= ATTEMPTS or wait_s > LONGEST_WAIT_S:
                    raise ServiceFailed(self._rejection(rejected, wait_s), _hint(rejected, self.config)) from None
            except TimeoutError:
                self._give_up_after(LATE_ATTEMPTS, attempt, f"silent for {self.config.timeout_s:g} s")
            except (ModelUnreachable, ModelLost) as broken:
                self._give_up_after(ATTEMPTS, attempt, str(broken))
            except ModelError as invalid:
                raise ServiceFailed(f"{self._address} sent {invalid}", "Check `url` in [llm].") from None
            await asyncio.sleep(wait_s)
            attempt += 1

    def _give_up_after(self, attempts: int, attempt: int, reason: str) -> None:
        if attempt >= attempts:
            raise ServiceUnreachable(
                f"{self._address} gave no answer in {attempt} attempts: {reason}",
                "Check that it is running, and check `url` in [llm].",
            ) from None

    def _rejection(self, rejected: ModelRejected, wait_s: float) -> str:
        if rejected.is_about_key:
            return f"{self._address} rejected the API key (HTTP {rejected.status})"
        if wait_s > LONGEST_WAIT_S:
            return f"{self._address} asks to wait {wait_s:.0f} s (HTTP {rejected.status})"
        return f"{self._address} answered HTTP {rejected.status}: {rejected}"


def _hint(rejected: ModelRejected, config: LlmConfig) -> str:
    if rejected.is_about_key:
        return (
            f"Check the key in {config.key_env}."
            if config.key_env
            else "Name the environment variable of the key in `key_env` of [llm]."
        )
    if rejected.status in (400, 413, 422):
        return "If the session is too long for the model, lower `max_input_tokens` in [llm]."
    return ""


def _pause_s(attempt: int) -> float:
    """Seconds until the next attempt, twice as long each time. They vary, so that callers do not retry at the same moment."""
    return float(_FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.8, 1.2))  # noqa: S311  no secret


def _fault(reply: Reply) -> str:
    return "an answer that was cut off" if reply.is_cut_off else "an answer without a JSON object"


def _again(question: Question, reply: Reply) -> Question:
    """The question with a higher output limit, or with a reminder to answer in JSON."""
    if reply.is_cut_off:
        return replace(question, max_output_tokens=(question.max_output_tokens or 0) * 2)
    return replace(question, text=f"{question.text}\nAnswer with one JSON object and nothing else.")


def _object_in(reply: Reply, keys: list[str]) -> dict[str, Any] | None:
    """The object of the reply: the first one in its text that has at least one of `keys`."""
    if reply.value is not None:
        return reply.value
    return next((found for found in objects_in(reply.text) if any(key in found for key in keys)), None)

"""A model that answers with JSON: patient with a server that is overloaded, strict with what it answers."""

import asyncio
import email.utils
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from aorch.config.environment import secret
from aorch.config.settings import LlmConfig, checked_llm
from aorch.errors import ConfigInvalid, ServiceFailed, ServiceUnreachable
from aorch.memory.llm.llm_providers import (
    AnthropicProvider,
    OpenAiProvider,
    Provider,
    ProviderRejected,
    ProviderUnreachable,
    Question,
    Reply,
)

ATTEMPTS, LATE_ATTEMPTS = 4, 2
"""How often a question is sent to a server that is overloaded or gone, and to one that is silent for `timeout_s`."""

LONGEST_WAIT_S = 30.0
_FIRST_WAIT_S = 0.5
_PASSING = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
_FEATURES = {
    "temperature": ("temperature",),
    "max_tokens": ("max_completion_tokens",),
    "schema": ("tool_choice", "response_format", "json_schema", "schema", "structured", "grammar"),
}
"""What a server may not take, and the words by which its refusal (400 or 422) tells."""


@dataclass
class Usage:
    """What was sent and received so far, in requests that were answered and the server's own count of tokens."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class LlmClient:
    """The configured model. Nothing is sent before `ask`.

    Raises ConfigInvalid where the key's variable is empty or the package for the provider is not installed. The key stands
    in the header of a request and in no error.
    """

    def __init__(self, config: LlmConfig) -> None:
        self.config = checked_llm(config)
        self.usage = Usage()
        self._key = secret(self.config.key_env) if self.config.key_env else ""
        if self.config.key_env and not self._key:
            raise ConfigInvalid(
                f"the environment variable {self.config.key_env} is empty, and the key of {self.config.model} "
                "is to be there",
                f"export {self.config.key_env}=…, or name another one in `key_env` of [llm].",
            )
        provider = AnthropicProvider if self.config.provider == "anthropic" else OpenAiProvider
        self._provider: Provider = provider(self.config, self._key)
        self._without: frozenset[str] = frozenset()

    async def __aenter__(self) -> Self:
        await self._provider.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._provider.__aexit__(kind, error, trace)

    async def ask(self, system: str, text: str, schema: dict[str, Any], max_output_tokens: int) -> dict[str, Any]:
        """The JSON object that the model answers with; whether it fits `schema` is for the caller to see.

        An answer that was cut off, or that holds no JSON object, is asked for once more. Raises ServiceUnreachable where
        ATTEMPTS found nobody, ServiceFailed where the server refused or gave nothing usable twice.
        """
        question = Question(system, text, schema, max_output_tokens)
        for last in (False, True):
            reply = await self._patiently(question)
            self.usage.requests += 1
            self.usage.tokens_in += reply.tokens_in
            self.usage.tokens_out += reply.tokens_out
            if reply.refused:
                raise ServiceFailed(f"{self._name} declined to answer")
            answer = None if reply.truncated else _object_in(reply.content, schema["required"])
            if answer is not None:
                return answer
            if last:
                raise ServiceFailed(f"{self._name} gave {_fault(reply)}, twice")
            question = _again(question, reply)
        raise AssertionError("the second round returns or raises")

    @property
    def _name(self) -> str:
        return f"{self.config.model} at {self.config.url}"

    async def _patiently(self, question: Question) -> Reply:
        """Ask until the server takes the question, ATTEMPTS times at most, not counting what it does not know to take."""
        attempt = 1
        while True:
            try:
                return await self._provider.send(replace(question, without=self._without))
            except ProviderRejected as refused:
                if self._learnt(refused):
                    continue
                wait_s = _wait(refused.headers, attempt)
                if refused.status not in _PASSING or attempt >= ATTEMPTS or wait_s > LONGEST_WAIT_S:
                    raise ServiceFailed(self._refusal(refused, wait_s), _hint(refused, self.config)) from None
            except ProviderUnreachable as unreached:
                wait_s = _wait({}, attempt)
                if attempt >= (LATE_ATTEMPTS if unreached.late else ATTEMPTS):
                    raise ServiceUnreachable(
                        f"{self._name} gave no answer in {attempt} attempts: {unreached.reason}",
                        "Is it running, and is `url` right?",
                    ) from None
            await asyncio.sleep(wait_s)
            attempt += 1

    def _learnt(self, refused: ProviderRejected) -> bool:
        """Whether the refusal says that the server does not take something that it can do without."""
        if refused.status not in (400, 422):
            return False
        said = refused.text.lower()
        for feature, words in _FEATURES.items():
            if feature not in self._without and any(word in said for word in words):
                self._without |= {feature}
                return True
        return False

    def _refusal(self, refused: ProviderRejected, wait_s: float) -> str:
        if refused.status in (401, 403):  # servers quote keys, or parts of them
            return f"{self._name} does not let us in (HTTP {refused.status})"
        if wait_s > LONGEST_WAIT_S:
            return f"{self._name} asks to wait {wait_s:.0f} s (HTTP {refused.status})"
        said = " ".join("".join(c if c.isprintable() else " " for c in refused.text).split())
        said = said.replace(self._key, "…") if self._key else said
        return f"{self._name} answered HTTP {refused.status}: {said[:200]}"


def _hint(refused: ProviderRejected, config: LlmConfig) -> str:
    if refused.status in (401, 403):
        return (
            f"Look at the key in {config.key_env}."
            if config.key_env
            else "Name the key's variable in `key_env` of [llm]."
        )
    if refused.status in (400, 413, 422):
        return "Where the session is too long for the model, lower `max_input_tokens` in [llm]."
    return ""


def _wait(headers: Mapping[str, str], attempt: int) -> float:
    """Seconds until the next attempt: what the server asks for (RFC 9110, Retry-After), else twice as long each time."""
    asked = headers.get("Retry-After") or headers.get("retry-after")
    if asked:
        try:
            return max(0.0, float(asked))
        except ValueError:
            pass
        try:
            return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
        except ValueError:
            pass
    return float(_FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.8, 1.2))  # noqa: S311  spreads callers, guards nothing


def _fault(reply: Reply) -> str:
    return "an answer that was cut off" if reply.truncated else "an answer without a JSON object"


def _again(question: Question, reply: Reply) -> Question:
    """The same question with more room, or with a reminder."""
    if reply.truncated:
        return replace(question, max_output_tokens=question.max_output_tokens * 2)
    return replace(question, text=f"{question.text}\nAnswer with one JSON object and nothing else.")


def _object_in(content: str | dict[str, Any], keys: list[str]) -> dict[str, Any] | None:
    """The JSON object that `content` is, or that stands in it between other words; it has one of `keys` at least."""
    if isinstance(content, dict):
        return content
    decoder = json.JSONDecoder()
    start = content.find("{")
    for _ in range(20):
        if start < 0:
            return None
        try:
            found, end = decoder.raw_decode(content, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            if any(key in found for key in keys):
                return dict(found)
        start = content.find("{", end)
    return None

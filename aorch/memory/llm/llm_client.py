"""A model that answers with JSON.

Requests to overloaded servers are retried, and after an invalid answer the question is sent once more.
"""

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
from aorch.config.sections import LlmConfig
from aorch.config.settings import checked_llm
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
"""Maximum attempts if the server is overloaded or not reachable, and if it does not respond within `timeout_s`."""

LONGEST_WAIT_S = 30.0
_FIRST_WAIT_S = 0.5
_PASSING = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
_FEATURES = {
    "temperature": ("temperature",),
    "max_tokens": ("max_completion_tokens",),
    "schema": ("tool_choice", "response_format", "json_schema", "schema", "structured", "grammar"),
}
"""Request fields that a server may not support, and the words in its error (400 or 422) that indicate this."""


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
        self.config = checked_llm(config)
        self.usage = Usage()
        self._key = secret(self.config.key_env) if self.config.key_env else ""
        if self.config.key_env and not self._key:
            raise ConfigInvalid(
                f"the environment variable {self.config.key_env} is empty; it must contain the key of {self.config.model}",
                f"Set {self.config.key_env}, or name another variable in `key_env` of [llm].",
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
        """The JSON object that the model answers with. It may not match `schema`.

        If an answer was cut off or contains no JSON object, the question is sent once more. Raises ServiceUnreachable if no
        attempt reached the server, and ServiceFailed if the server refused or gave no usable answer twice.
        """
        question = Question(system, text, schema, max_output_tokens)
        for last in (False, True):
            reply = await self._patiently(question)
            self.usage.requests += 1
            self.usage.tokens_in += reply.tokens_in
            self.usage.tokens_out += reply.tokens_out
            if reply.refused:
                raise ServiceFailed(f"{self._name} refused to answer")
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
        """Send the question, up to ATTEMPTS times, not counting those that failed because of an unsupported field."""
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
                        "Check that it is running, and check `url` in [llm].",
                    ) from None
            await asyncio.sleep(wait_s)
            attempt += 1

    def _learnt(self, refused: ProviderRejected) -> bool:
        """Whether the error names an unsupported field that can be left out. If so, the field is left out from now on."""
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
            return f"{self._name} rejected the API key (HTTP {refused.status})"
        if wait_s > LONGEST_WAIT_S:
            return f"{self._name} asks to wait {wait_s:.0f} s (HTTP {refused.status})"
        said = " ".join("".join(c if c.isprintable() else " " for c in refused.text).split())
        said = said.replace(self._key, "…") if self._key else said
        return f"{self._name} answered HTTP {refused.status}: {said[:200]}"


def _hint(refused: ProviderRejected, config: LlmConfig) -> str:
    if refused.status in (401, 403):
        return (
            f"Check the key in {config.key_env}."
            if config.key_env
            else "Name the environment variable of the key in `key_env` of [llm]."
        )
    if refused.status in (400, 413, 422):
        return "If the session is too long for the model, lower `max_input_tokens` in [llm]."
    return ""


def _wait(headers: Mapping[str, str], attempt: int) -> float:
    """Seconds until the next attempt: the Retry-After (RFC 9110) if given, otherwise twice as long each time."""
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
    return float(_FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.8, 1.2))  # noqa: S311  so that callers do not retry at the same moment


def _fault(reply: Reply) -> str:
    return "an answer that was cut off" if reply.truncated else "an answer without a JSON object"


def _again(question: Question, reply: Reply) -> Question:
    """The question with a higher output limit, or with a reminder to answer in JSON."""
    if reply.truncated:
        return replace(question, max_output_tokens=question.max_output_tokens * 2)
    return replace(question, text=f"{question.text}\nAnswer with one JSON object and nothing else.")


def _object_in(content: str | dict[str, Any], keys: list[str]) -> dict[str, Any] | None:
    """The JSON object in `content`, which may be surrounded by other text. It has at least one of `keys`."""
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

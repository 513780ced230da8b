"""The client of one model, for agents of the kind `llm` and for `compress --via llm`.

It opens its connection at the first question, and learns which fields the server does not support.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

from aorch.agents.model_call import ModelAddress, ModelApi, ModelLost, ModelRejected, Question, Reply
from aorch.agents.model_sdk import missing_package
from aorch.config.environment import fits_header, secret
from aorch.errors import ConfigInvalid
from aorch.process.threads import in_thread

APIS = {
    "openai": ("aorch.agents.openai_model", "OpenAiModel"),
    "anthropic": ("aorch.agents.anthropic_model", "AnthropicModel"),
}
"""The module and the class of each API. The package of the vendor has the name of the API."""

_FEATURES = {
    "temperature": ("temperature",),
    "max_tokens": ("max_completion_tokens",),
    "stream_options": ("stream_options", "include_usage"),
    "schema": ("tool_choice", "response_format", "json_schema", "schema", "structured", "grammar"),
}
"""Fields that a server may not support, and the words in its error (400 or 422) that indicate this."""
DROPPABLE = frozenset(("max_tokens", "stream_options", "schema"))
"""Fields without which the question is the same: the reply is checked against the schema in any case."""


class ModelClient:
    """A model, until `close`. `droppable` are the fields that are left out for a server that does not support them.

    Its key is read when the connection is opened, is sent only in a header, and is in no error message. Each event loop has
    its own connections.
    """

    def __init__(self, address: ModelAddress, droppable: frozenset[str] = DROPPABLE) -> None:
        self.address = address
        self._droppable = droppable
        self._without: frozenset[str] = frozenset()
        self._apis: dict[asyncio.AbstractEventLoop, asyncio.Task[ModelApi]] = {}

    async def close(self) -> None:
        """Close the connections of this loop. The next question opens them again."""
        opening = self._apis.pop(asyncio.get_running_loop(), None)
        if opening is not None and opening.done() and not opening.cancelled() and opening.exception() is None:
            await opening.result().close()

    async def open(self) -> ModelApi:
        """Import the package of the vendor, which takes a second or two. Raises ConfigInvalid with the `problem`."""
        if reason := problem_of(self.address):
            raise ConfigInvalid(reason)
        loop = asyncio.get_running_loop()
        opening = self._apis.get(loop)
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception() is not None)):
            opening = self._apis[loop] = loop.create_task(in_thread(self._made))
        return await asyncio.shield(opening)

    async def ask(self, question: Question, reply: Reply) -> None:
        """Send the question and fill `reply` as it arrives, until it is complete. Raises ModelError and ConfigInvalid."""
        api = await self.open()
        reply.hide(secret(self.address.key_env) if self.address.key_env else "")
        while True:
            try:
                await api.send(self._supported(question), reply)
            except ModelRejected as rejected:
                if reply.begun or not self._learnt(rejected):
                    raise
            else:
                break
        reply.end()
        if reply.stop_reason is None:
            raise ModelLost("the answer ended before it was complete")

    def _made(self) -> ModelApi:
        module, name = APIS[self.address.api]
        key = secret(self.address.key_env) if self.address.key_env else ""
        made: ModelApi = getattr(import_module(module), name)(self.address, key)
        return made

    def _supported(self, question: Question) -> Question:
        if question.schema is None or "schema" not in self._without:
            return replace(question, without=self._without)
        wanted = "Answer with one JSON object that matches this JSON Schema, and with nothing else:"
        system = f"{question.system}\n\n{wanted}\n{json.dumps(question.schema)}".strip()
        return replace(question, system=system, without=self._without)

    def _learnt(self, rejected: ModelRejected) -> bool:
        """Whether the error names a field that can be left out. If so, it is left out from now on."""
        if rejected.status not in (400, 422):
            return False
        said = rejected.document.lower()
        for feature, words in _FEATURES.items():
            if feature in self._droppable - self._without and any(word in said for word in words):
                self._without |= {feature}
                return True
        return False


def problem_of(address: ModelAddress) -> str | None:
    """Why the model cannot be asked: its package is not installed, or the variable of its key is not set."""
    if missing := missing_package(address.api):
        return missing
    key = secret(address.key_env) if address.key_env else ""
    if address.key_env and not key:
        return f"the environment variable {address.key_env}, which holds the API key, is not set"
    if not fits_header(key):
        return f"{address.key_env} contains characters that an HTTP header cannot have"
    return None


def objects_in(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a reply, which may be surrounded by other text."""
    decoder = json.JSONDecoder(parse_constant=_reject_constant)
    start = text.find("{")
    for _ in range(20):
        if start < 0:
            return
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield dict(found)
        start = text.find("{", end)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")

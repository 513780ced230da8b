"""The messages of Anthropic and of compatible servers, by the package `anthropic`."""

import json
from typing import Any

from aorch.agents.base import AgentUsage
from aorch.agents.model_call import TOOL, ModelAddress, Question, Reply, counted
from aorch.agents.model_sdk import NO_KEY, check_stream, http_client, imported, translated

DEFAULT_OUTPUT_TOKENS = 8192
"""The limit of a reply if the question sets none. (The API requires one.)"""


class AnthropicModel:
    """A model behind `POST <base_url>/v1/messages`.

    A reply with a schema is the input of a tool that the model must call: all models and compatible servers have that.
    Importing the package takes two seconds, so make it in a thread. Raises ConfigInvalid if the package is not installed.
    """

    def __init__(self, address: ModelAddress, key: str) -> None:
        self._sdk, self._model, self._key = imported("anthropic"), address.model, key
        self._client = self._sdk.AsyncAnthropic(
            api_key=key or NO_KEY,
            base_url=address.base_url,
            max_retries=0,
            timeout=None,
            http_client=http_client(self._sdk, address, key),
        )
        self._messages = self._client.messages  # imports more

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def send(self, question: Question, reply: Reply) -> None:
        """Send the question and fill `reply` as it arrives. Raises ModelError."""
        message = _Message(reply)
        with translated(self._sdk, self._key):
            stream = await self._messages.create(**self._body(question))
            async with stream:
                check_stream(stream.response)
                async for event in stream:
                    message.take(event)
        if message.tool_input and reply.stop_reason and not reply.is_cut_off:
            reply.value = _object("".join(message.tool_input))

    def _body(self, question: Question) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": question.max_output_tokens or DEFAULT_OUTPUT_TOKENS,
            "messages": [{"role": "user", "content": question.text}],
            "stream": True,
        }
        if question.system:
            body["system"] = question.system
        if question.temperature is not None and "temperature" not in question.without:
            # not every version of the package has the argument
            body["extra_body"] = {"temperature": question.temperature}
        if question.schema is not None:
            forced = "schema" not in question.without
            body["tools"] = [{"name": TOOL, "description": "Takes the answer.", "input_schema": question.schema}]
            body["tool_choice"] = {"type": "tool", "name": TOOL} if forced else {"type": "auto"}
        return body


class _Message:
    """Fills `reply` from the events of a message. `tool_input` are the pieces of the tool's input."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.tool_input: list[str] = []
        self._counts: dict[str, int] = {}

    def take(self, event: Any) -> None:
        reply = self.reply
        reply.begun = True
        if event.type == "message_start":
            reply.model = str(event.message.model)
            self._count(getattr(event.message, "usage", None))
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            reply.add(event.delta.text)
        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            self.tool_input.append(event.delta.partial_json)
            reply.add(event.delta.partial_json)
        elif event.type == "message_delta":
            if event.delta.stop_reason:
                reply.stop_reason = str(event.delta.stop_reason)
            self._count(getattr(event, "usage", None))

    def _count(self, usage: Any) -> None:
        """Take over the server's counts so far. Its `input_tokens` are without those read from or written to the cache."""
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            if (count := counted(getattr(usage, name, None))) is not None:
                self._counts[name] = count
        counts = self._counts
        read, written = counts.get("cache_read_input_tokens"), counts.get("cache_creation_input_tokens", 0)
        total = counts["input_tokens"] + (read or 0) + written if "input_tokens" in counts else None
        self.reply.usage = AgentUsage(input=total, output=counts.get("output_tokens"), cached=read)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

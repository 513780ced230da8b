"""The chat completions of OpenAI and of compatible servers, by the package `openai`."""

from typing import Any

from aorch.agents.base import AgentUsage
from aorch.agents.model_call import TOOL, ModelAddress, Question, Reply, counted
from aorch.agents.model_sdk import NO_KEY, check_stream, http_client, imported, translated


class OpenAiModel:
    """A model behind `POST <base_url>/chat/completions`.

    Importing the package takes a second, so make it in a thread. Raises ConfigInvalid if the package is not installed.
    """

    def __init__(self, address: ModelAddress, key: str) -> None:
        self._sdk, self._model, self._key = imported("openai"), address.model, key
        self._client = self._sdk.AsyncOpenAI(
            api_key=key or NO_KEY,
            base_url=address.base_url,
            max_retries=0,
            timeout=None,
            http_client=http_client(self._sdk, address, key),
        )
        self._completions = self._client.chat.completions  # imports more

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def send(self, question: Question, reply: Reply) -> None:
        """Send the question and fill `reply` as it arrives. Raises ModelError."""
        with translated(self._sdk, self._key):
            stream = await self._completions.create(**self._body(question))
            async with stream:
                check_stream(stream.response)
                async for chunk in stream:
                    _take(chunk, reply)

    def _body(self, question: Question) -> dict[str, Any]:
        without = question.without
        system = [{"role": "system", "content": question.system}] if question.system else []
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [*system, {"role": "user", "content": question.text}],
            "stream": True,
        }
        if "stream_options" not in without:
            body["stream_options"] = {"include_usage": True}
        if question.max_output_tokens is not None:
            body["max_completion_tokens" if "max_tokens" in without else "max_tokens"] = question.max_output_tokens
        if question.temperature is not None and "temperature" not in without:
            body["temperature"] = question.temperature
        if question.schema is not None and "schema" not in without:
            form = {"name": TOOL, "strict": is_strict(question.schema), "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body


def is_strict(schema: Any) -> bool:
    """Whether OpenAI accepts the schema as `strict`: each object lists its properties, requires all, and allows no others."""
    if isinstance(schema, list):
        return all(is_strict(each) for each in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties", {})
    if (schema.get("type") == "object" or "properties" in schema) and not (
        schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(properties)
    ):
        return False
    return all(
        is_strict(value) for value in (*properties.values(), *(schema[key] for key in schema if key != "properties"))
    )


def _take(chunk: Any, reply: Reply) -> None:
    reply.begun = True
    if chunk.model:
        reply.model = str(chunk.model)
    if (usage := chunk.usage) is not None:  # the package does not check it
        details = getattr(usage, "prompt_tokens_details", None)
        reply.usage = AgentUsage(
            input=counted(getattr(usage, "prompt_tokens", None)),
            output=counted(getattr(usage, "completion_tokens", None)),
            cached=counted(getattr(details, "cached_tokens", None)),
        )
    for choice in chunk.choices or ():
        if choice.delta is not None and choice.delta.content:
            reply.add(choice.delta.content)
        if choice.delta is not None and choice.delta.refusal:
            reply.refusal += choice.delta.refusal
        if choice.finish_reason:
            reply.stop_reason = str(choice.finish_reason)

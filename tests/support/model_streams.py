"""The replies of models as their servers stream them, in the two wire formats."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

STOPS = {"end": ("stop", "end_turn"), "limit": ("length", "max_tokens"), "refusal": ("content_filter", "refusal")}
STOPS["tool"] = ("tool_calls", "tool_use")
"""Stop reasons in the words of OpenAI and of Anthropic."""


@dataclass
class Said:
    """What a model says. `usage` is (input, output, cached) as aorch counts them; None: the server does not tell.

    `counts`: what it sends in the place of a usage. `as_tool`: as the input of a tool (Anthropic). `stop` None: no stop reason.
    `breaks`: the connection breaks before the end. `event`: an error in the stream, after the text.
    """

    text: str = "Good morning."
    stop: str | None = "end"
    usage: tuple[int, int, int | None] | None = (12, 5, 4)
    counts: Any = None
    model: str = "test-model-1-2026"
    refusal: str = ""
    as_tool: bool = False
    breaks: bool = False
    event: dict[str, Any] = field(default_factory=dict)

    @property
    def pieces(self) -> list[str]:
        """The text in pieces."""
        size = max(1, len(self.text) // 4)
        return [self.text[place : place + size] for place in range(0, len(self.text), size)]


def completions(said: Said) -> Iterator[bytes | None]:
    """The chunks of a chat completion."""

    def chunk(delta: dict[str, Any], stop: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": stop}
        return _event({"id": "1", "object": "chat.completion.chunk", "model": said.model, "choices": [choice], **more})

    yield chunk({"role": "assistant", "content": ""})
    for piece in said.pieces:
        yield chunk({"content": piece})
    if said.refusal:
        yield chunk({"refusal": said.refusal})
    if said.event:
        yield _event({"error": said.event})
    if said.breaks:
        yield None
        return
    if said.stop:
        yield chunk({}, STOPS[said.stop][0])
    if said.counts is not None:
        yield _event({"id": "1", "object": "chat.completion.chunk", "choices": [], "usage": said.counts})
    elif said.usage:
        read, written, cached = said.usage
        usage: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        if cached is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
        yield _event({"id": "1", "object": "chat.completion.chunk", "model": said.model, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def messages(said: Said) -> Iterator[bytes | None]:
    """The events of a message."""
    read, written, cached = said.usage or (0, 0, None)
    begun = {"input_tokens": read - (cached or 0), "output_tokens": 1, "cache_read_input_tokens": cached}
    message = {"id": "m", "type": "message", "role": "assistant", "model": said.model, "content": []}
    counts = begun if said.usage else {}
    yield _named("message_start", message={**message, "usage": counts if said.counts is None else said.counts})
    block = (
        {"type": "tool_use", "id": "t", "name": "answer", "input": {}} if said.as_tool else {"type": "text", "text": ""}
    )
    yield _named("content_block_start", index=0, content_block=block)
    yield _named("ping")
    for piece in said.pieces:
        tool = {"type": "input_json_delta", "partial_json": piece}
        delta = tool if said.as_tool else {"type": "text_delta", "text": piece}
        yield _named("content_block_delta", index=0, delta=delta)
    if said.event:
        yield _named("error", error=said.event)
    if said.breaks:
        yield None
        return
    yield _named("content_block_stop", index=0)
    if said.stop:
        stop = "tool_use" if said.as_tool and said.stop == "end" else STOPS[said.stop][1]
        ended = {"output_tokens": written} if said.usage else {}
        yield _named("message_delta", delta={"stop_reason": stop}, usage=ended if said.counts is None else said.counts)
        yield _named("message_stop")


def _event(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()


def _named(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + _event({"type": kind, **fields})

"""What comes with a request: its body, its query, and what ties it to its caller's traces."""

import asyncio
from typing import Any, TypeVar

from aiohttp import hdrs, web
from multidict import istr
from pydantic import BaseModel, ValidationError

from aorch.core.orchestrator import new_session_id
from aorch.core.task import Task
from aorch.errors import InvalidJSON
from aorch.server.answer import JSON
from aorch.server.auth import speaks_as
from aorch.server.bodies import OrchestrateBody
from aorch.server.call import Call, services_of
from aorch.server.idempotency import Key
from aorch.server.problems import Refusal, not_understood

Shape = TypeVar("Shape", bound=BaseModel)


async def read_raw(request: web.Request) -> bytes:
    """The body, which is JSON by what its sender says. Raises Refusal (408, 413, 415) and InvalidJSON (too deep)."""
    if request.headers.get(hdrs.CONTENT_TYPE) != JSON and request.content_type != JSON:
        raise Refusal(415, "not_json", f"the body is {request.content_type}", "Send it as application/json.")
    settings = services_of(request).settings
    if request.content.is_eof() and request.content.total_bytes <= settings.max_body_bytes:
        raw = request.content.read_nowait()  # all of it is here: no timer is needed, nor any of `read`'s other care
    elif (announced := request.content_length or 0) > settings.max_body_bytes:
        raise web.HTTPRequestEntityTooLarge(settings.max_body_bytes, announced)
    else:
        try:
            async with asyncio.timeout(settings.read_timeout_s):
                raw = await request.read()
        except TimeoutError:
            raise Refusal(408, "too_slow", f"the body took longer than {settings.read_timeout_s:g} s") from None
    if _deeper_than(settings.max_json_depth, raw):
        raise InvalidJSON(f"the body is nested deeper than {settings.max_json_depth} levels (max_json_depth)")
    return raw


def parse(raw: bytes, shape: type[Shape]) -> Shape:
    """A body as `shape`. Raises Refusal (422) and UsageError (400), which name the field."""
    try:
        return shape.model_validate_json(raw)
    except ValidationError as error:
        raise not_understood(error, "body") from error


def read_query(request: web.Request, shape: type[Shape], **besides: str) -> Shape:
    """The query as `shape`; what is given `besides` goes before. Raises Refusal (422), which names the parameter."""
    try:
        query = shape.model_validate(dict(request.query))
        return shape.model_validate({**request.query, **besides}) if besides else query
    except ValidationError as error:
        known = (field.alias or name for name, field in shape.model_fields.items())
        raise not_understood(error, "query", known) from error


def asked(call: Call, request: web.Request, body: OrchestrateBody, key: Key | None) -> Task:
    """The task that `body` asks for, under that idempotency key. Raises Forbidden where the caller speaks for another."""
    return Task(
        capability=body.capability,
        parameters=body.parameters,
        session_id=body.session_id or new_session_id(),
        context=body.context,
        agent_id=body.agent_id,
        timeout_s=body.timeout_s,
        from_agent=speaks_as(request, body.from_agent, body.parent_id),
        parent_id=body.parent_id,
        metadata=_traced(call, request),
        idempotency=key,
    )


def _deeper_than(most: int, raw: bytes) -> bool:
    if len(raw) <= 2 * most or raw.count(b"{") + raw.count(b"[") <= most:  # what opens must close, or it is no JSON
        return False
    depth, in_text, escaped = 0, False, False
    for byte in raw:
        if in_text:
            in_text, escaped = escaped or byte != 0x22, byte == 0x5C and not escaped
        elif byte == 0x22:
            in_text = True
        elif byte in b"{[":
            depth += 1
            if depth > most:
                return True
        elif byte in b"}]":
            depth -= 1
    return False


_TRACES = {"request_id": istr("X-Request-ID"), "traceparent": istr("traceparent"), "tracestate": istr("tracestate")}


def _traced(call: Call, request: web.Request) -> dict[str, Any]:
    """Who called, and what ties the exchange to its traces: `X-Request-ID`, `traceparent` and `tracestate` (W3C)."""
    headers = request.headers
    metadata: dict[str, Any] = {key: headers[name][:512] for key, name in _TRACES.items() if name in headers}
    if "request_id" in metadata:
        metadata["request_id"] = call.request_id  # another one where what was sent is none
    if stamp := call.caller.stamp:
        metadata["caller"] = stamp
    return metadata

"""What comes with a request: its body's fields, its query, and what ties it to its caller's traces."""

from typing import Any, TypeVar

from aiohttp import web
from multidict import istr
from pydantic import BaseModel, ValidationError

from aorch import jsonio
from aorch.engine.task import Task
from aorch.errors import InvalidJSON, ParametersInvalid
from aorch.orchestrator import new_session_id
from aorch.server.authentication import speaks_as
from aorch.server.idempotency import Key
from aorch.server.problems import not_understood
from aorch.server.request_context import Call
from aorch.server.schemas.bodies import AnyTask

Shape = TypeVar("Shape", bound=BaseModel)


def parse(raw: bytes, shape: type[Shape]) -> Shape:
    """A body as `shape`; half a surrogate pair is U+FFFD. Raises Refusal (422) and UsageError (400), which name the field."""
    try:
        shaped = shape.model_validate_json(raw)
    except ValidationError as error:
        whole = jsonio.without_mark(raw) or jsonio.without_half_pairs(raw)
        if whole is not None:
            return parse(whole, shape)
        raise not_understood(error, "body") from error
    try:
        jsonio.decode(raw)  # pydantic takes NaN, Infinity and 1e999, which would be written as null
    except InvalidJSON as error:
        raise InvalidJSON(f"the body is {error}") from error
    return shaped


def read_query(request: web.Request, shape: type[Shape], **besides: str) -> Shape:
    """The query as `shape`; what is given `besides` goes before. Raises Refusal (422), which names the parameter."""
    if twice := [name for name in request.query if len(request.query.getall(name)) > 1]:
        raise ParametersInvalid(f"query: {twice[0]!r} is given more than once", "Give each parameter once.")
    try:
        query = shape.model_validate(dict(request.query))
        return shape.model_validate({**request.query, **besides}) if besides else query
    except ValidationError as error:
        known = (field.alias or name for name, field in shape.model_fields.items())
        raise not_understood(error, "query", known) from error


def asked(call: Call, request: web.Request, body: AnyTask, key: Key | None) -> Task:
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

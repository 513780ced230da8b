"""Parses requests: a body or a query according to its schema, and a task with its trace context."""

import re
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct
from multidict import istr
from pydantic import BaseModel, ValidationError

from aorch import jsonio
from aorch.engine.task import LONGEST_SESSION_ID, Task, new_session_id
from aorch.errors import Forbidden, InvalidJSON, ParametersInvalid
from aorch.ledger.task_keys import CallerKey
from aorch.server.problems import validation_error
from aorch.server.request_context import CONTEXT, RequestContext
from aorch.server.schemas.tasks import TaskFields

Schema = TypeVar("Schema", bound=BaseModel)

_TRACE_HEADERS = {
    "request_id": istr("X-Request-ID"),
    "traceparent": istr("traceparent"),
    "tracestate": istr("tracestate"),
}
_MAX_TRACE_LENGTH = 512
_NOT_FINITE = re.compile(rb"NaN|Infinity|[0-9][eE]")
"""Every number without a JSON form contains one of these, or more than _MAX_DIGITS digits. (Other bodies can contain them
too.)
"""
_MAX_DIGITS = 300


class PlainTask(Struct, forbid_unknown_fields=True):
    """An ordinary `OrchestrateBody`, which msgspec decodes in a fifth of pydantic's time. A test holds it to that schema."""

    capability: Annotated[str, Meta(min_length=1)]
    session_id: Annotated[str, Meta(min_length=1, max_length=LONGEST_SESSION_ID)]
    parameters: dict[str, Any] = {}
    context: dict[str, Any] = {}
    agent_id: str | None = None
    from_agent: str | None = None
    parent_id: str | None = None
    timeout_s: Annotated[float, Meta(gt=0)] | None = None
    require: dict[str, str] = {}


_decode_plain = msgspec.json.Decoder(PlainTask).decode


def plain_task(raw: bytes) -> PlainTask | None:
    """Parse a body, or return None if it is anything but ordinary: invalid, with unknown fields, or with U+0000 in a string.

    Then `parse_body` decides.
    """
    try:
        return None if b"\\u0000" in raw else _decode_plain(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def parse_body(raw: bytes, schema: type[Schema]) -> Schema:
    """Parse a body; half of a surrogate pair becomes U+FFFD. Raises ParametersInvalid (422) and UsageError (400)."""
    try:
        body: Schema = schema.__pydantic_validator__.validate_json(raw)  # `model_validate_json` takes twice as long
    except ValidationError as error:
        repaired = jsonio.without_mark(raw) or jsonio.without_half_pairs(raw)
        if repaired is not None:
            return parse_body(repaired, schema)
        raise validation_error(error, "body") from error
    if len(raw) > _MAX_DIGITS or _NOT_FINITE.search(
        raw
    ):  # pydantic accepts NaN, Infinity and 1e999, and null would be stored
        try:
            jsonio.decode(raw)
        except InvalidJSON as error:
            raise InvalidJSON(f"the body is {error}") from error
    return body


def parse_query(request: web.Request, schema: type[Schema], **overrides: str) -> Schema:
    """Parse the query; `overrides` replace its values. Raises ParametersInvalid (422), which names the parameter."""
    if repeated := [name for name in request.query if len(request.query.getall(name)) > 1]:
        raise ParametersInvalid(f"query: {repeated[0]!r} appears more than once", "Send each parameter once.")
    try:
        query = schema.model_validate(dict(request.query))
        return schema.model_validate({**request.query, **overrides}) if overrides else query
    except ValidationError as error:
        known = (field.alias or name for name, field in schema.model_fields.items())
        raise validation_error(error, "query", known) from error


def task_of(request: web.Request, body: TaskFields | PlainTask, key: CallerKey | None) -> Task:
    """Return the task that `body` describes, with that idempotency key. Raises Forbidden if the caller may not use the
    agent that it names.

    The metadata contains the caller, `X-Request-ID`, `traceparent` and `tracestate` (W3C Trace Context).
    """
    context, headers = request[CONTEXT], request.headers
    if context.caller.capabilities is not None:
        reject_other_capability(context, body.capability)
    metadata: dict[str, Any] = {
        key: headers[name][:_MAX_TRACE_LENGTH] for key, name in _TRACE_HEADERS.items() if name in headers
    }
    if "request_id" in metadata:
        metadata["request_id"] = context.request_id  # a new one if the client sent an invalid one
    from_agent = body.from_agent
    if context.caller.caller_id:
        metadata["caller"] = context.caller.stamp
    if context.services.authenticator.bound_agents:
        from_agent = _speaking_agent(context, from_agent, body.parent_id)
    return Task(
        capability=body.capability,
        parameters=body.parameters,
        session_id=body.session_id or new_session_id(),
        context=body.context,
        agent_id=body.agent_id,
        timeout_s=body.timeout_s,
        from_agent=from_agent,
        parent_id=body.parent_id,
        annotations=metadata,
        idempotency=key,
        require=body.require,
    )


def sign(task: Task, context: RequestContext) -> None:
    """Record the caller in a task that it did not describe itself. Raises Forbidden as `task_of` does."""
    reject_other_capability(context, task.capability)
    if context.caller.caller_id:
        task.annotations["caller"] = context.caller.stamp
    if context.services.authenticator.bound_agents:
        task.from_agent = _speaking_agent(context, task.from_agent, task.parent_id)


def reject_other_capability(context: RequestContext, capability: str | None) -> None:
    """Raise Forbidden if the caller's token is limited to other capabilities. None: something that concerns all of them."""
    allowed = context.caller.capabilities
    if allowed is None or capability in allowed:
        return
    if capability is None:
        raise Forbidden("a token that is limited to capabilities cannot do this", "Send a token without such a limit.")
    raise Forbidden(
        f"the token does not allow the capability {capability!r}",
        f"It allows: {', '.join(sorted(allowed)) or 'none'}. Use one of these, or create another token.",
    )


def _speaking_agent(context: RequestContext, from_agent: str | None, parent_id: str | None) -> str | None:
    """Return the agent in whose name the task is sent, if any.

    A caller whose token is bound to an agent sends tasks as that agent only. No other caller may send tasks as a bound agent,
    or on behalf of a REQUEST that a bound agent executes. Raises Forbidden.
    """
    own, bound = context.caller.agent_id, context.services.authenticator.bound_agents
    if own is not None and from_agent not in (None, own):
        raise Forbidden(f"this token is bound to the agent {own} and cannot send as {from_agent}", "Omit from_agent.")
    if from_agent in bound - {own}:
        raise Forbidden(f"only the token bound to {from_agent} can send as this agent", "Use another from_agent.")
    if parent_id is not None:
        executing = context.services.orchestrator.executor.ledger.agent_of(parent_id)
        if executing in bound - {own}:
            raise Forbidden(
                "only the token bound to the agent that executes this REQUEST can send on its behalf", "Omit parent_id."
            )
    return own or from_agent

"""The OpenAPI 3.1 document, made of the routes and of the shapes that check bodies and queries: nothing is said twice."""

import inspect
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

import aorch
from aorch.errors import AorchError
from aorch.server import openapi_examples
from aorch.server.authentication import PUBLIC
from aorch.server.route import Route
from aorch.server.route_table import ROUTES
from aorch.server.schemas.problem import Problem

Json = dict[str, Any]

PROBLEM = "application/problem+json"

_ABOUT = """\
Any agent, called by what it can do, with every exchange on record.

Errors are `application/problem+json` (RFC 9457); the member `code` is stable. Times are RFC 3339 in UTC with milliseconds.
A field of a body that is not known is passed over; a name in a query that is not known is refused.
"""
_TAGS = {
    "tasks": "Execute a task now, or queue it for later.",
    "agents": "The agents and what they can do.",
    "contracts": "The ledger: every REQUEST and RESPONSE, by session, and as a stream.",
    "memory": "Compressed sessions. Every claim in a memory block cites its contracts.",
    "service": "The health and status of the service.",
}
_PATH_PARAMETERS = {
    "agent_id": ("The agent's id.", openapi_examples.AGENT),
    "contract_id": ("The whole id.", openapi_examples.REQUEST_ID),
    "session_id": (
        "The session, percent-encoded where it holds more than letters, digits and `-._~`.",
        openapi_examples.SESSION,
    ),
}
_ASKED: dict[str, dict[str, Json]] = {
    "orchestrate": {
        "Idempotency-Key": {
            "description": "Makes it safe to send the same again: it is answered with what came of the first, and no agent "
            "is called. A text in quotes (draft-ietf-httpapi-idempotency-key-header), or bare.",
            "schema": {
                "type": "string",
                "pattern": r"""^([A-Za-z0-9!#$%&'*+.^_`|~:/=@-]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}")$""",
                "examples": ['"8e03978e-40d5-43dd-bc93-6894a57f9324"'],
            },
        },
        "X-Request-ID": {
            "description": "Said back, and kept in the contract's metadata.",
            "schema": {"type": "string", "examples": ["order-42"]},
        },
        "traceparent": {
            "description": "W3C Trace Context: kept in the contract's metadata, and handed to the agent.",
            "schema": {"type": "string", "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]},
        },
        "tracestate": {"description": "Its companion.", "schema": {"type": "string", "examples": ["vendor=1"]}},
    },
    "events": {
        "Last-Event-ID": {
            "description": "Go on after this event; goes before `last_event_id`.",
            "schema": {"type": "string", "pattern": "^[0-9]{0,18}$", "examples": ["41"]},
        }
    },
}
_ASKED["submit_task"] = _ASKED["orchestrate"]
"""The headers that an operation reads."""
_SAID: dict[str, Json] = {
    "X-Request-ID": {
        "description": "The id of this request in the server's log: the caller's own where it sent one of up to 128 letters, "
        "digits and `_.:-`.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "examples": [openapi_examples.REQUEST_ID]},
    },
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0, "examples": [1]},
    },
    "WWW-Authenticate": {
        "description": "What is needed (RFC 6750).",
        "required": True,
        "schema": {"type": "string", "examples": ["Bearer"]},
    },
    "Link": {
        "description": 'The next page (RFC 8288, `rel="next"`); absent on the last.',
        "schema": {"type": "string", "examples": ['</v1/contracts?limit=100&cursor=100>; rel="next"']},
    },
    "Location": {
        "description": "Where to ask for what came of it.",
        "required": True,
        "schema": {
            "type": "string",
            "format": "uri-reference",
            "examples": [f"/v1/tasks/{openapi_examples.REQUEST_ID}"],
        },
    },
    "Idempotency-Replayed": {
        "description": "`true` where this is the answer to an earlier request with the same key.",
        "schema": {"type": "string", "const": "true"},
    },
}
"""The headers of answers."""
_SAID_BY_STATUS = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}
_STREAM = {
    "type": "object",
    "description": "One event: `id` is the contract's place in the ledger, `data` the contract.",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"type": "string", "enum": ["request", "response"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/ContractForm"},
        },
    },
    "required": ["id", "event", "data"],
}


class _Schemas(GenerateJsonSchema):
    """Without a title for each field, which would only be its name in capitals; and in the order of the code."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value


def document(*, is_open: bool) -> Json:
    """The whole document; `is_open` where the server lets callers in without a token."""
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, is_open=is_open)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "aorch",
            "version": aorch.__version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {f"Refusal{status}": _refusal(status, found) for status, found in _SHARED.items()},
            "headers": _SAID,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `aorch tokens create` or of the server's token file.",
                }
            },
        },
    }


def _schemas() -> Json:
    asked = [(route.body, "validation") for route in ROUTES if route.body]
    answered = [(route.response, "serialization") for route in ROUTES if route.response]
    _, schemas = models_json_schema(
        [*asked, *answered, (Problem, "serialization")],  # type: ignore[list-item]  # the modes are literals
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    found: Json = schemas["$defs"]
    return found


def _operation(route: Route, *, is_open: bool) -> Json:
    summary, _, more = inspect.cleandoc(route.handler.__doc__ or "").partition("\n")
    operation: Json = {
        "operationId": route.name,
        "summary": summary,
        "description": f"{more.strip()}\n\n{_scope(route)}".strip(),
        "tags": [route.tag],
        "security": [],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {f"{route.success}": _answer(route), **_refusals(route)},
    }
    if route.scope != PUBLIC:
        operation["security"] = [{"bearer": [route.scope]}, *([{}] if is_open else [])]
    if route.body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(route.body)}}}
    return operation


def _scope(route: Route) -> str:
    return (
        "Needs no token." if route.scope == PUBLIC else f"Where tokens are needed: one with the scope `{route.scope}`."
    )


def _path_parameters(route: Route) -> Iterable[Json]:
    for name in re.findall(r"{(\w+)}", route.path):
        about, example = _PATH_PARAMETERS[name]
        schema = {"type": "string", "minLength": 1, "examples": [example]}
        yield {"name": name, "in": "path", "required": True, "description": about, "schema": schema}


def _query_parameters(route: Route) -> Iterable[Json]:
    shape = route.query.model_json_schema(schema_generator=_Schemas) if route.query else {"properties": {}}
    for name, field in shape["properties"].items():
        about, schema = field.pop("description"), _without_null(field)
        yield {
            "name": name,
            "in": "query",
            "required": name in shape.get("required", ()),
            "description": about,
            "schema": schema,
        }


def _without_null(field: Json) -> Json:
    """A query has no null: what is not asked for is left out."""
    if field.get("default", ...) is not None:
        return field
    return next(choice for choice in field["anyOf"] if choice.get("type") != "null")


def _header_parameters(route: Route) -> Iterable[Json]:
    for name, about in _ASKED.get(route.name, {}).items():
        yield {"name": name, "in": "header", "required": False, **about}


def _answer(route: Route) -> Json:
    headers = ["X-Request-ID"]
    if route.response is None:
        content: Json = {
            "text/event-stream": {"schema": _STREAM, "examples": {"one": {"value": openapi_examples.STREAM}}}
        }
    else:
        shown = {name: {"value": value} for name, value in openapi_examples.ANSWERS[route.name].items()}
        content = {"application/json": {"schema": _ref(route.response), "examples": shown}}
        headers += ["Link"] if "next" in route.response.model_fields else []
    headers += ["Idempotency-Replayed"] if "Idempotency-Key" in _ASKED.get(route.name, {}) else []
    headers += ["Location"] if route.success == 202 else []
    about = "What came of it." if route.body else "What was asked for."
    return {"description": about, "headers": {name: _header(name) for name in headers}, "content": content}


def _refusals(route: Route) -> Json:
    found = _by_status(_possible(route))
    return {
        f"{status}": {"$ref": f"#/components/responses/Refusal{status}"}
        if refusals == _SHARED.get(status)
        else _refusal(status, refusals)
        for status, refusals in sorted(found.items())
    }


def _possible(route: Route) -> Iterable[AorchError]:
    yield from openapi_examples.ALWAYS
    if route.scope != PUBLIC:
        yield from openapi_examples.TOKEN
    if route.body:
        yield from openapi_examples.BODY
    yield from openapi_examples.REFUSALS.get(route.name, ())


def _by_status(refusals: Iterable[AorchError]) -> dict[int, list[AorchError]]:
    found: dict[int, list[AorchError]] = {}
    for refusal in refusals:
        found.setdefault(refusal.http_status, []).append(refusal)
    return found


_SHARED = _by_status([*openapi_examples.ALWAYS, *openapi_examples.TOKEN])
"""What is refused in the same words wherever it is."""
_NAMELESS = set(_by_status(openapi_examples.BEFORE_ROUTES))


def _refusal(status: int, refusals: list[AorchError]) -> Json:
    shown = {refusal.code: {"value": openapi_examples.as_answered(refusal)} for refusal in refusals}
    title = shown[refusals[0].code]["value"]["title"]
    said = {name: _header(name) for name in _SAID_BY_STATUS.get(status, [])}
    if status not in _NAMELESS:
        said["X-Request-ID"] = _header("X-Request-ID")
    return {
        "description": f"{title}: {', '.join(f'`{code}`' for code in shown)}.",
        "headers": said,
        "content": {PROBLEM: {"schema": _ref(Problem), "examples": shown}},
    }


def _header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}


def _ref(shape: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}

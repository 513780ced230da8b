"""The OpenAPI 3.1 document, generated from the routes, the handlers' docstrings and the schemas that validate requests.

Its examples are responses of a real server, recorded in openapi_examples.json by docs/record_http_examples.py. An operation
shows the errors that were recorded for it; those that any request can get are in its `default` response.
"""

import inspect
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

import aorch
from aorch import jsonio
from aorch.ledger.reader import SHORTEST_PART
from aorch.server.authentication import AGENTS, PUBLIC
from aorch.server.problems import PROBLEM
from aorch.server.route import Route
from aorch.server.route_table import ROUTES
from aorch.server.schemas.problem import Problem

Json = dict[str, Any]

EXAMPLES = Path(__file__).with_name("openapi_examples.json")
"""`answers`: the responses of each operation, by name.

`errors`: the error bodies of each operation, and of the groups `body` (operations with a body), `token` (operations that
need a token) and `any` (any request).
"""

_ABOUT = """\
Run any agent by capability, and keep every exchange in a ledger.

`POST /v1/orchestrate` executes a task now; `POST /v1/tasks` queues one for later. Both write a REQUEST to the ledger before the \
agent is called, and a RESPONSE with its result afterwards.

Errors are `application/problem+json` (RFC 9457): `code` identifies the kind and never changes, `detail` names the problem, and \
`hint` what to do next. Times are RFC 3339 in UTC with milliseconds. Unknown body fields are ignored; unknown query parameters \
are rejected with 422.
"""
_TAGS = {
    "tasks": "Execute a task now, or queue it for later.",
    "work": "Workers on other machines: they claim queued tasks and report the results.",
    "agents": "The agents and what they can do.",
    "contracts": "The ledger: every REQUEST and RESPONSE, by session, and as a stream.",
    "memory": "Compressed sessions. Every claim in a memory block cites its contracts.",
    "service": "The health and status of the service.",
}
_PATH_PARAMETERS = {
    "block_id": ("The ID of the memory block.", "mem_01KFV7EE0W1V1FJ7BTS47TG9Y2"),
    "part": ("The beginning or the end of the ID of a contract, or the whole ID.", "01KFV70HW83SYH1HAX57ZG0001"),
    "agent_id": ("The ID of the agent.", "agent_example_001"),
    "contract_id": ("The complete ID of the contract.", "01KFV70HW83SYH1HAX57ZG0001"),
    "generation": ("The ID of the run of a batch.", "01KFV70HW83SYH1HAX57ZG0001"),
    "lease_id": ("The ID of the lease.", "lease_01KFV70HW83SYH1HAX57ZG0001"),
    "step_id": ("The complete ID of the REQUEST of the step.", "01KFV70HW83SYH1HAX57ZG0002"),
    "session_id": (
        "The ID of the session, percent-encoded if it has characters other than letters, digits and `-._~`.",
        "session_001",
    ),
}
_TASK_HEADERS: dict[str, Json] = {
    "Idempotency-Key": {
        "description": "Makes it safe to send the request again: the response is that of the first request with this key, and "
        "no agent is called again. The value is a quoted string (draft-ietf-httpapi-idempotency-key-header) or a bare word.",
        "schema": {
            "type": "string",
            "pattern": r"""^([A-Za-z0-9!#$%&'*+.^_`|~:/=@-]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}")$""",
            "examples": ['"8e03978e-40d5-43dd-bc93-6894a57f9324"'],
        },
    },
    "X-Request-ID": {
        "description": "An ID for this request. The response returns it, and the contract's metadata stores it.",
        "schema": {"type": "string", "examples": ["order-42"]},
    },
    "traceparent": {
        "description": "W3C Trace Context. It is stored in the contract's metadata and passed to the agent.",
        "schema": {"type": "string", "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]},
    },
    "tracestate": {
        "description": "W3C Trace Context, vendor-specific part.",
        "schema": {"type": "string", "examples": ["vendor=1"]},
    },
}
_REQUEST_HEADERS: dict[str, dict[str, Json]] = {
    "orchestrate": _TASK_HEADERS,
    "submit_task": _TASK_HEADERS,
    "run_line": _TASK_HEADERS,
    **{
        name: {"Idempotency-Key": _TASK_HEADERS["Idempotency-Key"]}
        for name in ("rerun_task", "resume_task", "retry_task")
    },
    "cancel_sent_task": {
        "Idempotency-Key": {
            **_TASK_HEADERS["Idempotency-Key"],
            "description": "The key of the request for the task.",
            "required": True,
        }
    },
    "events": {
        "Last-Event-ID": {
            "description": "Start after this event. Takes precedence over `last_event_id`.",
            "schema": {"type": "string", "pattern": "^[0-9]{0,18}$", "examples": ["41"]},
        }
    },
}
"""The headers that each operation reads."""
_RESPONSE_HEADERS: dict[str, Json] = {
    "X-Request-ID": {
        "description": "The ID of this request in the server's log. It is the client's own ID if that has up to 128 "
        "letters, digits and `_.:-`.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "examples": ["order-42"]},
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "integer", "minimum": 0, "examples": [1]},
    },
    "WWW-Authenticate": {
        "description": "The required authentication (RFC 6750).",
        "required": True,
        "schema": {"type": "string", "examples": ["Bearer"]},
    },
    "Link": {
        "description": 'The next page (RFC 8288, `rel="next"`). Absent on the last page.',
        "schema": {"type": "string", "examples": ['</v1/contracts?limit=100&cursor=100>; rel="next"']},
    },
    "Location": {
        "description": "The URL of the task.",
        "required": True,
        "schema": {
            "type": "string",
            "format": "uri-reference",
            "examples": ["/v1/tasks/01KFV70HW83SYH1HAX57ZG0001"],
        },
    },
    "Idempotency-Replayed": {
        "description": "`true` if this is the response of an earlier request with the same key.",
        "schema": {"type": "string", "const": "true"},
    },
}
_HEADERS_OF_STATUS = {401: ["WWW-Authenticate"], 503: ["Retry-After"]}
"""The headers of errors, in addition to X-Request-ID."""
_STREAM = {
    "type": "object",
    "description": "One event: `id` is the contract's position in the ledger, `data` the contract; or an agent, "
    "without `id`.",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"type": "string", "enum": ["request", "response", "agent"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [{"$ref": "#/components/schemas/ContractForm"}, {"$ref": "#/components/schemas/AgentForm"}]
            },
        },
    },
    "required": ["event", "data"],
}

_STREAMS: dict[str, Json] = {
    "events": _STREAM,
    "compress_many": {
        "type": "object",
        "description": "One event: `data` is the result for a session, a problem document, or an empty object.",
        "properties": {
            "event": {"type": "string", "enum": ["session", "error", "end"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
        "required": ["event", "data"],
    },
}
"""The events of each operation that streams them."""


class _Schemas(GenerateJsonSchema):
    """Leaves out the titles of fields, which would only repeat their names, and keeps the order of the code."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value


def document(*, is_open: bool) -> Json:
    """Return the whole document. `is_open`: the server accepts callers without a token."""
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, is_open=is_open)
    responses = {"Error": _any_error()}
    if not is_open:
        responses |= {
            f"Error{status}": _errors(status, found) for status, found in _by_status(_recorded("token")).items()
        }
    components: Json = {"schemas": _schemas(), "responses": responses, "headers": _RESPONSE_HEADERS}
    if not is_open:
        components["securitySchemes"] = {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token from `aorch tokens create`, or from the server's token file.",
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "aorch",
            "version": aorch.__version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": components,
    }


@cache
def _examples() -> Json:
    found: Json = jsonio.decode(EXAMPLES.read_bytes())
    return found


def _recorded(name: str) -> list[Json]:
    """Return the recorded errors of an operation, or of a group of operations."""
    found: list[Json] = _examples()["errors"].get(name, [])
    return found


def _schemas() -> Json:
    inputs = [(route.body, "validation") for route in ROUTES if route.body]
    outputs = [(route.response, "serialization") for route in ROUTES if route.response]
    _, schemas = models_json_schema(
        [*inputs, *outputs, (Problem, "serialization")],  # type: ignore[list-item]  # the modes are literals
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    found: Json = schemas["$defs"]
    return found


def _operation(route: Route, *, is_open: bool) -> Json:
    summary, _, details = inspect.cleandoc(route.handler.__doc__ or "").partition("\n")
    needs_token = route.scope != PUBLIC and not is_open
    token = f"Needs a token with the scope `{route.scope}`." if needs_token else "Needs no token."
    operation: Json = {
        "operationId": route.name,
        "summary": summary.removesuffix("."),
        "description": f"{details.strip()}\n\n{token}".strip(),
        "tags": [route.tag],
        "security": [{"bearer": [route.scope]}] if needs_token else [],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {
            **{f"{status}": _success(route) for status in (route.success, route.again) if status},
            **_failures(route, needs_token=needs_token),
        },
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(route.body)}}}
    return operation


def _path_parameters(route: Route) -> Iterable[Json]:
    for name in re.findall(r"{(\w+)}", route.path):
        about, example = _PATH_PARAMETERS[name]
        example = "translator" if route.scope == AGENTS else example
        schema = {"type": "string", "minLength": SHORTEST_PART if name == "part" else 1, "examples": [example]}
        yield {"name": name, "in": "path", "required": True, "description": about, "schema": schema}


def _query_parameters(route: Route) -> Iterable[Json]:
    schema = route.query.model_json_schema(schema_generator=_Schemas) if route.query else {"properties": {}}
    for name, field in schema["properties"].items():
        about, of_value = field.pop("description"), _without_null(field)
        is_required = name in schema.get("required", ())
        yield {"name": name, "in": "query", "required": is_required, "description": about, "schema": of_value}


def _without_null(field: Json) -> Json:
    """Return the schema of a query parameter, without null: an absent parameter is left out instead."""
    if field.get("default", ...) is not None:
        return field
    return next(choice for choice in field["anyOf"] if choice.get("type") != "null")


def _header_parameters(route: Route) -> Iterable[Json]:
    for name, about in _REQUEST_HEADERS.get(route.name, {}).items():
        yield {"name": name, "in": "header", "required": False} | about


def _success(route: Route) -> Json:
    recorded = _examples()["answers"]
    assert route.name in recorded, f"add an example of {route.name} to docs/record_http_examples.py, and run it"
    examples = {name: {"value": value} for name, value in recorded[route.name].items()}
    headers = ["X-Request-ID"]
    if route.response is None:
        content: Json = {"text/event-stream": {"schema": _STREAMS[route.name], "examples": examples}}
        about = "A stream of server-sent events."
    else:
        content = {"application/json": {"schema": _ref(route.response), "examples": examples}}
        about = inspect.cleandoc(route.response.__doc__ or "")
        headers += ["Link"] if "next" in route.response.model_fields else []
    key = _REQUEST_HEADERS.get(route.name, {}).get("Idempotency-Key", {})
    headers += ["Idempotency-Replayed"] if key and not key.get("required") else []
    headers += ["Location"] if route.success == 202 else []
    return {"description": about, "headers": {name: _header(name) for name in headers}, "content": content}


def _failures(route: Route, *, needs_token: bool) -> Json:
    """Return the responses with the operation's own errors, and `default` with those of any request."""
    own = [*(_recorded("body") if route.body else ()), *_recorded(route.name)]
    token = _recorded("token") if needs_token else []
    found: Json = {}
    for status, errors in sorted(_by_status([*token, *own]).items()):
        is_shared = all(error in token for error in errors)
        found[f"{status}"] = {"$ref": f"#/components/responses/Error{status}"} if is_shared else _errors(status, errors)
    return {**found, "default": {"$ref": "#/components/responses/Error"}}


def _by_status(errors: Iterable[Json]) -> dict[int, list[Json]]:
    found: dict[int, list[Json]] = {}
    for error in errors:
        found.setdefault(error["status"], []).append(error)
    return found


def _errors(status: int, errors: list[Json]) -> Json:
    """Return the response with that status, with an example of each of its errors."""
    headers = _HEADERS_OF_STATUS.get(status, ())
    codes = ", ".join(f"`{code}`" for code in dict.fromkeys(error["code"] for error in errors))
    return {
        "description": f"{errors[0]['title']}: {codes}.",
        "headers": {name: _header(name) for name in headers},
        "content": {PROBLEM: {"schema": _ref(Problem), "examples": _named(errors)}},
    }


def _any_error() -> Json:
    """Return the response with the errors that any request can get, independently of the operation."""
    errors = _recorded("any")
    listed = ", ".join(f"{error['status']} `{error['code']}`" for error in errors)
    return {
        "description": f"Any request can also fail with: {listed}.",
        "content": {PROBLEM: {"schema": _ref(Problem), "examples": _named(errors)}},
    }


def _named(errors: list[Json]) -> Json:
    """Return OpenAPI examples, named by code, and by a number if a code occurs again."""
    named: Json = {}
    for error in errors:
        again = sum(name.partition(" ")[0] == error["code"] for name in named)
        named[f"{error['code']} ({again + 1})" if again else error["code"]] = {"value": error}
    return named


def _header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}


def _ref(schema: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{schema.__name__}"}

"""/openapi.json: valid, complete, and generated from what the server runs on."""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from homes import Home, prestarted
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from record_http_examples import record

from aorch.cli.documentation import text_of
from aorch.errors import by_code
from aorch.server import openapi
from aorch.server.problems import PROBLEM
from aorch.server.route import Route
from aorch.server.route_table import ROUTES
from aorch.server.schemas.fields import Body

ROOT = Path(__file__).parents[2]
SERVER = Path(inspect.getfile(openapi)).parent
Json = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Json:
    """The document of a server that needs tokens."""
    return openapi.document(is_open=False)


def operation_of(document: Json, route: Route) -> Json:
    operation: Json = document["paths"][route.path][route.method.lower()]
    return operation


def resolved(document: Json, part: Json) -> Json:
    """`part`, or the part that it refers to."""
    while "$ref" in part:
        _, *steps = part["$ref"].split("/")
        part = document
        for step in steps:
            part = part[step]
    return part


def references(part: Any) -> Iterator[str]:
    """Every `$ref` below `part`."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def answers(document: Json) -> Iterator[tuple[Route, str, Json]]:
    """Every response of every operation, with its status."""
    for route in ROUTES:
        for status, answer in operation_of(document, route)["responses"].items():
            yield route, status, resolved(document, answer)


@pytest.fixture(scope="module")
def fits(document: Json) -> Callable[[Json, Any], None]:
    """A function that raises if a value does not match a schema of the document, including its formats."""

    @cache
    def validator(schema: str) -> Any:
        whole = {**json.loads(schema), "components": document["components"]}
        return jsonschema_rs.validator_for(whole, validate_formats=True)

    return lambda schema, value: validator(json.dumps(schema)).validate(value)


@pytest.mark.parametrize("is_open", [True, False])
def test_the_document_is_valid_openapi_3_1(is_open: bool) -> None:
    document = openapi.document(is_open=is_open)
    assert document["openapi"].startswith("3.1")
    validate(document, cls=OpenAPIV31SpecValidator)


def test_the_document_contains_exactly_the_routes(document: Json) -> None:
    said = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert said == {(route.method, route.path) for route in ROUTES}
    assert len({operation_of(document, route)["operationId"] for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        operation = operation_of(document, route)
        assert operation["summary"]
        assert operation["description"]


def test_every_schema_is_used_and_every_reference_resolves(document: Json) -> None:
    def family(schema: type[Body]) -> set[str]:
        return {schema.__name__}.union(*map(family, schema.__subclasses__()))

    assert family(Body) - {"Body", "TaskFields"} == set(document["components"]["schemas"])
    found = set(references(document))
    for reference in found:
        assert resolved(document, {"$ref": reference})
    kept = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses", "headers")
        for name in document["components"][kind]
    }
    assert kept == found


def test_the_pages_that_it_names_are_those_of_the_command_help(document: Json) -> None:
    text = json.dumps(document)
    assert not re.findall(r"docs/[\w-]+\.md", text)
    named = set(re.findall(r'See \\"([^"]+)\\" \(aorch help --docs ([\w-]+)\)', text))
    assert {title for title, _ in named} >= {"Agents", "The queue"}
    for title, name in named:
        assert text_of(name).startswith(f"# {title}\n")


def test_every_query_parameter_has_a_description(document: Json) -> None:
    for route in ROUTES:
        said = {each["name"]: each for each in operation_of(document, route)["parameters"]}
        asked = route.query.model_fields.items() if route.query else ()
        assert {field.alias or name for name, field in asked} <= set(said)
        assert set(re.findall(r"{(\w+)}", route.path)) <= set(said)
        assert all(each["description"] for each in said.values())


def test_every_response_has_examples_of_its_own_schema(document: Json, fits: Callable[[Json, Any], None]) -> None:
    for _, status, answer in answers(document):
        for kind, content in answer["content"].items():
            assert kind == PROBLEM or status in ("200", "201", "202")
            assert content["examples"]
            for example in content["examples"].values():
                if kind != "text/event-stream":
                    fits(content["schema"], example["value"])
                if kind == PROBLEM:
                    assert status in ("default", str(example["value"]["status"]))


def test_the_example_of_a_body_is_valid(document: Json, fits: Callable[[Json, Any], None]) -> None:
    for route in ROUTES:
        if route.body:
            schema = operation_of(document, route)["requestBody"]["content"]["application/json"]["schema"]
            for example in resolved(document, schema)["examples"]:
                fits(schema, example)
                route.body.model_validate(example)


def test_every_error_that_the_server_raises_is_documented(document: Json) -> None:
    shown = {
        (example["value"]["status"], example["value"]["code"])
        for _, _, answer in answers(document)
        for example in answer["content"].get(PROBLEM, {}).get("examples", {}).values()
    }
    raised = {
        (int(status), code)
        for file in SERVER.rglob("*.py")
        for status, code in re.findall(r'HttpError\(\s*(\d+),\s*"(\w+)"', file.read_text())
    }
    assert raised - shown == {(404, "no_route"), (405, "method_not_allowed")}, "these belong to no operation"
    of_classes = {(error.http_status, code) for code, error in by_code().items()}
    assert shown - raised - of_classes == {(417, "refused")}, "aiohttp raises it"


def test_an_operation_shows_only_its_own_errors(document: Json) -> None:
    def codes(path: str, method: str = "get") -> set[str]:
        responses = document["paths"][path][method]["responses"]
        shown = [
            resolved(document, each) for status, each in responses.items() if status not in ("200", "202", "default")
        ]
        return {example["value"]["code"] for each in shown for example in each["content"][PROBLEM]["examples"].values()}

    assert codes("/v1/health") == codes("/v1/") == set()
    assert codes("/v1/agents") == {"not_authorised", "forbidden"}
    assert codes("/v1/agents/{agent_id}") == {"not_authorised", "forbidden", "not_found"}
    assert {"no_agent", "agent_timed_out", "ledger_full", "too_large"} < codes("/v1/orchestrate", "post")
    assert "queue_full" not in codes("/v1/orchestrate", "post")
    assert "agent_timed_out" not in codes("/v1/tasks", "post")


def test_the_examples_are_responses_of_the_server() -> None:
    forked = prestarted()
    recorded = record(forked.command if forked else Home.command())
    assert recorded == openapi.EXAMPLES.read_text(), "run `uv run --group test python docs/generate.py`"


def test_the_scope_of_an_operation_is_shown_if_the_server_needs_tokens_and_not_otherwise(document: Json) -> None:
    for_all = openapi.document(is_open=True)
    for route in ROUTES:
        needed = [] if route.scope == "none" else [{"bearer": [route.scope]}]
        assert operation_of(document, route)["security"] == needed
        assert ("401" in operation_of(document, route)["responses"]) == bool(needed)
        opened = operation_of(for_all, route)
        assert opened["security"] == []
        assert "401" not in opened["responses"]

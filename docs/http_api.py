"""docs/http-api.md, generated from the OpenAPI document that the server serves."""

import json
import re
import shlex
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from aorch.server.openapi import document
from aorch.server.problems import PROBLEM

Json = dict[str, Any]
Error = tuple[int, str, str]
"""Status, code, and the detail of an example."""

_HEAD = """\
# The HTTP API

`aorch serve` listens on http://127.0.0.1:8888. The same API is at `/docs` (Swagger UI, where you can try it), at `/redoc`
(ReDoc, for reading) and at `/openapi.json` (OpenAPI 3.1, for programs). These pages need no token and no internet.

If the service needs a token, send it as a header: `-H "Authorization: Bearer $TOKEN"`.
"""


def http_page() -> str:
    """Every operation: what it does, its parameters, its response, its errors, and an example call."""
    api = document(is_open=False)
    operations = [
        (method.upper(), path, operation) for path, item in api["paths"].items() for method, operation in item.items()
    ]
    token = set.intersection(*(_errors(api, each) for _, _, each in operations if each["security"]))
    lines = [_HEAD, *api["info"]["description"].splitlines()]
    for tag in api["tags"]:
        lines += [
            "",
            f"**{tag['name'].capitalize()}**: {tag['description']}",
            "",
            "| endpoint | | scope |",
            "|---|---|---|",
        ]
        for method, path, operation in operations:
            if operation["tags"] == [tag["name"]]:
                link = f"[`{method} {path}`](#{_anchor(method, path)})"
                lines.append(f"| {link} | {operation['summary']} | {_scope(operation)} |")
    lines += [
        "",
        "Any request can fail with:",
        "",
        *_error_table(_examples(api, {"default": {"$ref": "#/components/responses/Error"}})),
    ]
    lines += ["", "Any operation with a scope can fail with:", "", *_error_table(token)]
    for method, path, operation in operations:
        lines += _endpoint(api, method, path, operation, token)
    lines += ["", "## Schemas"]
    for name, schema in api["components"]["schemas"].items():
        lines += ["", f"### {name}", "", schema["description"], "", *_fields(schema)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _endpoint(api: Json, method: str, path: str, operation: Json, common: set[Error]) -> Iterable[str]:
    yield from ["", f"## {method} {path}", "", f"{operation['summary']}.", "", operation["description"], ""]
    if operation["parameters"]:
        yield from ["| parameter | in | type | |", "|---|---|---|---|"]
        for parameter in operation["parameters"]:
            about = _cell(parameter["description"] + _default(parameter["schema"]))
            yield f"| `{parameter['name']}` | {parameter['in']} | {_type(parameter['schema'])} | {about} |"
        yield ""
    if body := operation.get("requestBody"):
        yield from [f"Body: {_type(_json_of(body)['schema'])}.", ""]
    yield from ["```console", f"$ {_curl(api, method, path, operation)}", *_shown(operation), "```", ""]
    yield from [f"Response: {_answer(operation)}", ""]
    own = _errors(api, operation) - common
    if own:
        yield from ["Errors:", "", *_error_table(own)]


def _curl(api: Json, method: str, path: str, operation: Json) -> str:
    words = ["curl", "-N" if "text/event-stream" in _success(operation)["content"] else "-s"]
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["schema"]["examples"][0])
        elif parameter["in"] == "query" and parameter["required"]:
            path += f"?{urlencode({parameter['name']: parameter['schema']['examples'][0]})}"
    if method.upper() != ("POST" if operation.get("requestBody") else "GET"):
        words += ["-X", method.upper()]
    words.append(f"http://127.0.0.1:8888{path}")
    if body := operation.get("requestBody"):
        example = _resolved(api, _json_of(body)["schema"])["examples"][0]
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(example)]
    return shlex.join(words) + ("" if words[1] == "-N" else " | jq")


def _shown(operation: Json) -> list[str]:
    (content,) = _success(operation)["content"].values()
    example = next(iter(content["examples"].values()))["value"]
    text = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
    return text.strip().splitlines()


def _answer(operation: Json) -> str:
    answer = _success(operation)
    status = next(iter(operation["responses"]))
    ((kind, content),) = answer["content"].items()
    headers = ", ".join(f"`{name}`" for name in answer["headers"])
    return f"{status} `{kind}`, {_type(content['schema'])}. Headers: {headers}."


def _success(operation: Json) -> Json:
    """The response of a success, which comes first."""
    answer: Json = next(iter(operation["responses"].values()))
    return answer


def _errors(api: Json, operation: Json) -> set[Error]:
    """The errors that the operation itself documents."""
    return _examples(api, {status: each for status, each in operation["responses"].items() if status != "default"})


def _examples(api: Json, responses: Json) -> set[Error]:
    found = set()
    for response in responses.values():
        content = _resolved(api, response)["content"].get(PROBLEM, {})
        found |= {
            (example["value"]["status"], example["value"]["code"], example["value"]["detail"])
            for example in content.get("examples", {}).values()
        }
    return found


def _error_table(errors: set[Error]) -> Iterable[str]:
    yield from ["| status | code | example |", "|---|---|---|"]
    for status, code, detail in sorted(errors):
        yield f"| {status} | `{code}` | {_cell(detail)} |"


def _fields(schema: Json) -> Iterable[str]:
    yield from ["| field | type | |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        needed = "" if name in schema.get("required", ()) else ", optional"
        yield f"| `{name}` | {_type(field)}{needed} | {_cell(field.get('description', '') + _default(field))} |"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if schema.get("anyOf"):
        return " or ".join(_type({**schema, **choice, "anyOf": choice.get("anyOf", [])}) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if schema.get("type") == "array":
        return f"array of {_type(schema['items'])}"
    return f"{schema.get('format') or schema.get('type') or 'any JSON'}"


def _default(schema: Json) -> str:
    default = schema.get("default")
    return "" if default in (None, {}) or "const" in schema else f" Default: `{json.dumps(default)}`."


def _scope(operation: Json) -> str:
    return ", ".join(f"`{scope}`" for needed in operation["security"] for scope in needed["bearer"]) or "none"


def _json_of(body: Json) -> Json:
    content: Json = body["content"]["application/json"]
    return content


def _resolved(api: Json, part: Json) -> Json:
    while "$ref" in part:
        _, *steps = part["$ref"].split("/")
        part = api
        for step in steps:
            part = part[step]
    return part


def _anchor(method: str, path: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", f"{method} {path}".lower()).replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

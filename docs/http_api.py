"""docs/http-api.md, made of the OpenAPI document that the server serves."""

import json
import re
import shlex
from collections.abc import Iterable
from typing import Any

from aorch.server.openapi import PROBLEM, document

Json = dict[str, Any]
Refusal = tuple[str, str, str]
"""Status, code, an example."""

_HEAD = """\
# The HTTP API

`aorch serve` answers on http://127.0.0.1:8888. The same as a page to try it at `/docs` (Swagger UI), to read at `/redoc`
(ReDoc), and for programs at `/openapi.json` (OpenAPI 3.1); these need neither a token nor the internet.

Where tokens are needed, send one: `-H "Authorization: Bearer $TOKEN"`.
"""


def http_page() -> str:
    """Every endpoint: what it does, what it takes, what it answers, what it refuses, and a call of it."""
    api = document(is_open=False)
    operations = [
        (method.upper(), path, operation) for path, item in api["paths"].items() for method, operation in item.items()
    ]
    common = _common(api, [operation for _, _, operation in operations])
    with_token = _common(api, [operation for _, _, operation in operations if operation["security"]])
    lines = [_HEAD, *api["info"]["description"].splitlines()[2:], "", "| endpoint | scope | |", "|---|---|---|"]
    for method, path, operation in operations:
        lines.append(
            f"| [`{method} {path}`](#{_anchor(method, path)}) | {_scope(operation)} | {operation['summary']} |"
        )
    lines += ["", "Any of them may refuse with:", "", *_refusal_table(common)]
    lines += ["", "and any that has a scope with:", "", *_refusal_table(with_token - common)]
    for method, path, operation in operations:
        lines += _endpoint(api, method, path, operation, with_token)
    lines += ["", "## Shapes"]
    for name, schema in api["components"]["schemas"].items():
        lines += ["", f"### {name}", "", schema["description"], "", *_fields(schema)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _endpoint(api: Json, method: str, path: str, operation: Json, common: set[Refusal]) -> Iterable[str]:
    yield from ["", f"## {method} {path}", "", operation["summary"], "", operation["description"], ""]
    if operation["parameters"]:
        yield from ["| parameter | in | type | |", "|---|---|---|---|"]
        for parameter in operation["parameters"]:
            about = _cell(parameter["description"] + _default(parameter["schema"]))
            yield f"| `{parameter['name']}` | {parameter['in']} | {_type(parameter['schema'])} | {about} |"
        yield ""
    if body := operation.get("requestBody"):
        yield from [f"Body: {_type(_json_of(body)['schema'])}.", ""]
    yield from ["```console", f"$ {_curl(api, method, path, operation)}", *_shown(operation), "```", ""]
    yield from [f"Answer: {_answer(operation)}", ""]
    own = set(_refusals(api, operation)) - common
    if own:
        yield from ["Refuses with:", "", *_refusal_table(own)]


def _curl(api: Json, method: str, path: str, operation: Json) -> str:
    words = ["curl", "-N" if "text/event-stream" in _success(operation)["content"] else "-s"]
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["schema"]["examples"][0])
    if method.upper() != "GET" and not operation.get("requestBody"):
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
    return f"{status} `{kind}`, {_type(content['schema'])}; headers {headers}."


def _success(operation: Json) -> Json:
    """The answer where all went well, which comes first."""
    answer: Json = next(iter(operation["responses"].values()))
    return answer


def _common(api: Json, operations: list[Json]) -> set[Refusal]:
    return set.intersection(*(set(_refusals(api, operation)) for operation in operations))


def _refusals(api: Json, operation: Json) -> Iterable[Refusal]:
    for status, response in operation["responses"].items():
        content = _resolved(api, response)["content"].get(PROBLEM, {})
        for code, example in content.get("examples", {}).items():
            yield status, code, example["value"]["detail"]


def _refusal_table(refusals: set[Refusal]) -> Iterable[str]:
    yield from ["| status | code | for example |", "|---|---|---|"]
    for status, code, detail in sorted(refusals):
        yield f"| {status} | `{code}` | {_cell(detail)} |"


def _fields(schema: Json) -> Iterable[str]:
    yield from ["| field | type | |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        needed = "" if name in schema["required"] else ", optional"
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
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", f"{method} {path}".lower()).replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

"""Which parameters a schema marks as secret, in every form of JSON Schema; what is not understood is refused."""

from pathlib import Path
from typing import Any

import pytest
from erasing_rows import contains
from test_redaction import config_in, exchanges
from test_redaction_forms import Reveals, revealed

from aorch import Orchestrator, Pipeline, Step
from aorch.agents.base import AgentCapability
from aorch.agents.parameters import ParameterCheck
from aorch.agents.secret_parameters import without_secrets
from aorch.agents.secret_schemas import SecretSchema
from aorch.config.sections import RedactConfig
from aorch.config.settings import Config
from aorch.errors import ConfigInvalid

SECRET = "correct-horse-battery-staple"
MARK = {"type": "string", "writeOnly": True}
OBJECT = {"type": "object"}
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "other names in the short form": ({"user": "string", "additionalProperties": MARK}, {"p": SECRET}),
    "patterns in the short form": ({"patternProperties": {"^p": MARK}}, {"p": SECRET}),
    "$anchor": (
        {**OBJECT, "properties": {"p": {"$ref": "#pw"}}, "$defs": {"x": {"$anchor": "pw", **MARK}}},
        {"p": SECRET},
    ),
    "an encoded pointer": (
        {**OBJECT, "properties": {"p": {"$ref": "#/$defs/a%20b~1c"}}, "$defs": {"a b/c": MARK}},
        {"p": SECRET},
    ),
    "a pointer to an item": (
        {**OBJECT, "properties": {"p": {"$ref": "#/allOf/0"}}, "allOf": [{"properties": {"q": MARK}}]},
        {"p": {"q": SECRET}},
    ),
    "a reference with the id": (
        {
            **OBJECT,
            "$id": "http://a.example/s",
            "properties": {"p": {"$ref": "http://a.example/s#/$defs/x"}},
            "$defs": {"x": MARK},
        },
        {"p": SECRET},
    ),
    "dependentSchemas": (
        {**OBJECT, "dependentSchemas": {"user": {"properties": {"p": MARK}}}},
        {"user": "ann", "p": SECRET},
    ),
    "dependencies": ({**DRAFT_7, "dependencies": {"user": {"properties": {"p": MARK}}}}, {"user": "ann", "p": SECRET}),
    "unevaluatedProperties": ({**OBJECT, "unevaluatedProperties": MARK}, {"p": SECRET}),
    "items of draft 7": ({**DRAFT_7, "properties": {"p": {"items": [{}, MARK]}}}, {"p": ["a", SECRET]}),
    "additionalItems": (
        {**DRAFT_7, "properties": {"p": {"items": [{}], "additionalItems": MARK}}},
        {"p": ["a", SECRET]},
    ),
    "unevaluatedItems": (
        {**OBJECT, "properties": {"p": {"prefixItems": [{}], "unevaluatedItems": MARK}}},
        {"p": ["a", SECRET]},
    ),
    "contains": ({**OBJECT, "properties": {"p": {"contains": MARK}}}, {"p": [SECRET]}),
    "$dynamicRef": (
        {**OBJECT, "properties": {"p": {"$dynamicRef": "#t"}}, "$defs": {"t": {"$dynamicAnchor": "t", **MARK}}},
        {"p": SECRET},
    ),
    "if": ({**OBJECT, "if": {"properties": {"p": MARK}}}, {"p": SECRET}),
    "a schema of itself": (
        {**OBJECT, "allOf": [{"$ref": "#"}, {"$ref": "#"}], "properties": {"p": MARK, "next": {"$ref": "#"}}},
        {"next": {"next": {"p": SECRET}}},
    ),
    "all parameters": ({**OBJECT, "writeOnly": True}, {"p": SECRET}),
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_parameter_is_secret_in_every_form_of_its_schema(tmp_path: Path, form: str) -> None:
    schema, parameters = FORMS[form]
    config = config_in(tmp_path / "ledger")
    data = await revealed(config, schema, parameters, lambda given: {"came": given == parameters, "again": SECRET})
    assert data == {"came": True, "again": "***"}
    assert exchanges(config.ledger)[0]["metadata"]["redacted"]
    assert not contains(config.ledger, SECRET)


HIDDEN_MARKS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown keyword": ({**OBJECT, "properties": {"p": {"secretly": MARK}}}, "writeOnly has no effect where it is"),
    "contentSchema": ({**OBJECT, "properties": {"p": {"contentSchema": {"properties": {"q": MARK}}}}}, "no effect"),
    "propertyNames": ({**OBJECT, "propertyNames": MARK}, "no effect where it is"),
    "a missing definition": ({**OBJECT, "properties": {"q": MARK, "p": {"$ref": "#/$defs/none"}}}, "refers to nothing"),
    "a missing anchor": ({**OBJECT, "properties": {"q": MARK, "p": {"$ref": "#none"}}}, "refers to nothing in it"),
    "another document": ({**OBJECT, "properties": {"q": MARK, "p": {"$ref": "other.json"}}}, "refers to nothing in it"),
    "a schema in a schema": (
        {**OBJECT, "properties": {"p": {"$id": "https://b.example/", "properties": {"q": MARK}}}},
        "another schema with an id",
    ),
}


@pytest.mark.parametrize("form", HIDDEN_MARKS)
async def test_a_schema_whose_secrets_could_be_missed_is_refused_and_nothing_of_the_task_is_kept(
    tmp_path: Path, form: str
) -> None:
    schema, reason = HIDDEN_MARKS[form]
    config = config_in(tmp_path / "ledger")
    called: list[Any] = []
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Reveals(schema, called.append))
        answer = await orchestrator.orchestrate("s", {"capability": "pay", "parameters": {"p": SECRET}})
        with pytest.raises(ConfigInvalid, match="cannot be kept secret"):
            await orchestrator.submit("s", {"capability": "pay", "parameters": {"p": SECRET}})
    assert (answer["success"], called) == (False, [])
    assert "the parameters of capability 'pay' cannot be kept secret" in (answer["error"] or "")
    assert reason in (answer["error"] or "")
    assert not contains(config.ledger, SECRET)


@pytest.mark.parametrize(
    "schema",
    [
        {**OBJECT, "$defs": {"unused": {"properties": {"p": MARK}}}},
        {**OBJECT, "properties": {"writeOnly": True, "p": {"default": {"writeOnly": True}}}},
        {**OBJECT, "properties": {"p": {"$id": "https://b.example/", "description": "no writeOnly"}}},
    ],
)
def test_a_schema_that_marks_no_parameter_has_no_secrets(schema: dict[str, Any]) -> None:
    ParameterCheck(AgentCapability("pay", "", schema))
    assert SecretSchema(schema).fault() is None
    assert without_secrets({"p": "a"}, schema, lambda _: None) == ({"p": "a"}, [])


def test_a_value_below_the_deepest_level_is_secret_as_a_whole() -> None:
    schema = {**OBJECT, "properties": {"p": MARK, "next": {"$ref": "#"}}}
    value: Any = {"p": SECRET}
    for _ in range(100):
        value = {"next": value}
    hidden, found = without_secrets(value, schema, lambda _: "hidden")
    assert SECRET not in str(hidden)
    assert len(found) == 1


# Which agents and which key


class Named(Reveals):
    """The same, with another ID."""

    def __init__(self, agent_id: str, schema: dict[str, Any], concurrency: int | None = None) -> None:
        super().__init__(schema, lambda given: given)
        self.agent_id, self.concurrency = agent_id, concurrency


@pytest.mark.parametrize("chosen", ["open", "careful"])
async def test_a_parameter_is_secret_if_one_of_the_agents_says_so_whichever_gets_the_task(
    tmp_path: Path, chosen: str
) -> None:
    config = config_in(tmp_path / "ledger")
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Named("open", {"p": "string"}))
        orchestrator.register_agent(Named("careful", {**OBJECT, "properties": {"p": MARK}}))
        task = {"capability": "pay", "parameters": {"p": SECRET}, "agent_id": chosen}
        answer = await orchestrator.orchestrate("s", task)  # type: ignore[arg-type]
    assert answer["data"] == {"p": "***"}
    assert not contains(config.ledger, SECRET)


async def test_a_task_that_is_refused_before_an_agent_is_chosen_is_redacted(tmp_path: Path) -> None:
    config = config_in(tmp_path / "ledger")
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Named("careful", {**OBJECT, "properties": {"p": MARK}}))
        task = {"capability": "pay", "parameters": {"p": SECRET}, "agent_id": "nobody"}
        answer = await orchestrator.orchestrate("s", task)  # type: ignore[arg-type]
    assert not answer["success"]
    assert exchanges(config.ledger)[0]["metadata"]["redacted"] == ["p"]
    assert not contains(config.ledger, SECRET)


def unusable_key(folder: Path, how: str) -> str:
    """The path of a key that cannot be used."""
    if how == "others can read it":
        (folder / "key").write_bytes(b"k" * 32)
        (folder / "key").chmod(0o644)
    else:
        (folder / "file").write_text("no directory")
    return str(folder / ("key" if how == "others can read it" else "file/key"))


@pytest.mark.parametrize("how", ["others can read it", "it cannot be created"])
@pytest.mark.parametrize("secret_by", ["schema", "pattern"])
async def test_no_agent_runs_if_the_key_cannot_be_used(tmp_path: Path, how: str, secret_by: str) -> None:
    redact = RedactConfig(["aws"] if secret_by == "pattern" else [], key_file=unusable_key(tmp_path, how))
    config = Config(config_in(tmp_path / "ledger").ledger, redact=redact)
    called: list[Any] = []
    schema = {"p": "string"} if secret_by == "pattern" else {**OBJECT, "properties": {"p": MARK}}
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Reveals(schema, lambda _: called.append("AKIAIOSFODNN7EXAMPLE")))
        for parameters in ({"p": "AKIAIOSFODNN7EXAMPLE"}, {}):
            assert "key" in await error_of(orchestrator, parameters)
    assert called == []
    assert not contains(config.ledger, "AKIAIOSFODNN7EXAMPLE")


async def error_of(orchestrator: Orchestrator, parameters: dict[str, Any]) -> str:
    """The error of the answer, or of the call if nothing could be recorded."""
    try:
        answer = await orchestrator.orchestrate("s", {"capability": "pay", "parameters": parameters})
    except ConfigInvalid as error:
        return str(error)
    return answer["error"] or ""


# Pipelines

PASSED_ON: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "a reference": ({"p": "{input.token}"}, None, {"token": SECRET}),
    "a part of a text": ({"p": "Bearer {input.token}"}, None, {"token": SECRET}),
    "an object that contains it": ({"login": "{input.login}"}, None, {"login": {"p": SECRET}}),
    "all parameters": ("{input}", None, {"p": SECRET}),
    "an item": ({"p": "{item}"}, "{input.tokens}", {"tokens": [SECRET]}),
}
LOGIN = {**OBJECT, "properties": {"p": MARK, "login": {"properties": {"p": MARK}}, "user": {"type": "string"}}}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("form", PASSED_ON)
async def test_an_input_that_a_step_passes_on_as_a_secret_is_secret_in_the_pipeline(
    tmp_path: Path, form: str, *, nested: bool
) -> None:
    parameters, for_each, given = PASSED_ON[form]
    config = config_in(tmp_path / "ledger")
    called: list[Any] = []
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Reveals(LOGIN, called.append))
        orchestrator.register_agent(Pipeline("inner", [Step("one", "pay", parameters, for_each=for_each)]))
        outer = {name: f"{{input.{name}}}" for name in given}
        orchestrator.register_agent(Pipeline("outer", [Step("one", "inner", outer)]))
        task = {"capability": "outer" if nested else "inner", "parameters": {**given, "user": "ann"}}
        answer = await orchestrator.orchestrate("s", task)  # type: ignore[arg-type]
    assert answer["success"], answer
    assert SECRET in str(called)
    first = exchanges(config.ledger)[0]
    assert next(iter(given)) in first["metadata"]["redacted"]
    assert first["payload"]["user"] == "ann" or form == "all parameters"
    assert not contains(config.ledger, SECRET)


async def test_an_input_that_is_not_passed_on_as_a_secret_stays_in_the_ledger(tmp_path: Path) -> None:
    config = config_in(tmp_path / "ledger")
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Reveals(LOGIN, lambda _: None))
        orchestrator.register_agent(Pipeline("inner", [Step("one", "pay", {"user": "{input.user}"})]))
        await orchestrator.orchestrate("s", {"capability": "inner", "parameters": {"user": "ann"}})
    first = exchanges(config.ledger)[0]
    assert (first["payload"], "redacted" in first["metadata"]) == ({"user": "ann"}, False)


async def test_a_misspelt_input_of_a_pipeline_with_a_secret_stays_out_of_the_ledger(tmp_path: Path) -> None:
    config = config_in(tmp_path / "ledger")
    declared = {**OBJECT, "properties": {"token": {"type": "string"}}, "additionalProperties": False}
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Reveals(LOGIN, lambda _: None))
        orchestrator.register_agent(
            Pipeline("inner", [Step("one", "pay", {"p": "{input.token}"})], parameters=declared)
        )
        answer = await orchestrator.orchestrate("s", {"capability": "inner", "parameters": {"tokn": SECRET}})
    assert "has no parameter 'tokn'" in (answer["error"] or "")
    assert not contains(config.ledger, SECRET)

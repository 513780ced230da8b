"""What schemathesis checks besides its own: loaded by SCHEMATHESIS_HOOKS."""

from typing import Any

import schemathesis


@schemathesis.check
def a_task_of_the_documented_shape_is_refused_for_what_the_server_knows_only(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: "schemathesis.Case[Any]"
) -> None:
    """Its 422 names an exchange in the ledger, or the key was used with another body."""
    is_task = case.operation.label in ("POST /v1/orchestrate", "POST /v1/tasks")
    if is_task and response.status_code == 422 and case.meta and case.meta.generation.mode.is_positive:
        said = response.json()
        assert said.get("contract_id") or said["code"] == "idempotency_key_reused", said


@schemathesis.check
def a_status_that_the_operation_does_not_list_is_one_that_any_request_can_get(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: "schemathesis.Case[Any]"
) -> None:
    """The response `default` would allow every status; its examples are all that it stands for."""
    definition = case.operation.definition.raw["responses"]
    if str(response.status_code) not in definition:
        schema = case.operation.schema.raw_schema
        examples = schema["components"]["responses"]["Error"]["content"]["application/problem+json"]["examples"]
        codes = {example["value"]["code"] for example in examples.values()}
        assert response.json()["code"] in codes | {"no_route", "method_not_allowed"}, response.json()

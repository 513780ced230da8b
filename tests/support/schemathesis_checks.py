"""What schemathesis checks besides its own: loaded by SCHEMATHESIS_HOOKS."""

from typing import Any

import schemathesis


@schemathesis.check
def a_task_of_the_documented_shape_is_refused_for_what_the_server_knows_only(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: "schemathesis.Case[Any]"
) -> None:
    """Its 422 is an exchange in the ledger, which the answer names, or a key that came with another body."""
    if response.status_code == 422 and case.method == "POST" and case.meta and case.meta.generation.mode.is_positive:
        said = response.json()
        assert said.get("contract_id") or said["code"] == "idempotency_key_reused", said

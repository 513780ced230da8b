"""The JSON forms in which a worker at a server receives tasks and reports results and steps."""

from typing import Any

from aorch import jsonio
from aorch.agents.failure import text_of
from aorch.errors import AgentOutputTooLarge
from aorch.ledger.record import FAILED, ORCHESTRATOR, PENDING, Record


def request_of(form: dict[str, Any]) -> Record:
    """The REQUEST whose JSON form the server has sent."""
    texts = {name: jsonio.encode(form[name]) for name in ("payload", "metadata")}
    return Record(**{**form, **texts, "result": None})


def result_of(response: Record) -> dict[str, Any]:
    """The JSON form of a report."""
    return {
        "response_id": response.contract_id,
        "agent_id": None if response.from_agent == ORCHESTRATOR else response.from_agent,
        "status": response.status,
        "result": None if response.result is None else jsonio.decode(response.result),
        "error": response.error,
        "metadata": jsonio.decode(response.metadata),
    }


def step_of(request: Record) -> dict[str, Any]:
    """The JSON form of a step, from its REQUEST."""
    return {
        "contract_id": request.contract_id,
        "from_agent": request.from_agent,
        "agent_id": request.to_agent,
        "capability": request.capability,
        "parameters": jsonio.decode(request.payload),
        "metadata": jsonio.decode(request.metadata),
        "waits": request.status == PENDING,
    }


def refusal_of(response: Record) -> dict[str, Any]:
    """The JSON form of the RESPONSE to a step for which no agent is called."""
    return {
        "response_id": response.contract_id,
        "error": response.error,
        "metadata": jsonio.decode(response.metadata),
    }


def size_of(result: dict[str, Any]) -> int:
    """The number of bytes of a report."""
    return len(jsonio.encode_bytes(result))


def too_large(response: Record, size: int, limit: str) -> dict[str, Any]:
    """A failure in place of a result of that many bytes. `limit` is the reason why the server does not accept it."""
    error = text_of(f"the report of the result has {size:,} bytes; {limit}")
    metadata = {"code": AgentOutputTooLarge.code, "delivered": True, "retry_safe": False}
    return {**result_of(response), "status": FAILED, "result": None, "error": error, "metadata": metadata}

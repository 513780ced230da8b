"""The trace of a task (W3C Trace Context, https://www.w3.org/TR/trace-context/), for the HTTP requests of its agent."""

import re
from collections.abc import Mapping
from typing import Any

from aorch import jsonio
from aorch.agents.task_progress import current_call
from aorch.errors import InvalidJSON
from aorch.span_ids import span_id_of, trace_id_of

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")


def trace_headers(task: Mapping[str, Any]) -> dict[str, str]:
    """`traceparent` and `tracestate` of the caller, as they are; those of the first caller if the task was delegated. Without
    them, `traceparent` of the span of the exchange, as it is exported.
    """
    root_id, given = task["task_id"], task.get("metadata") or {}
    call = current_call.get()
    if call is not None and (root := call.root()) is not None:
        root_id, given = root[0], _object(root[1])
    parent, state = given.get("traceparent"), given.get("tracestate")
    if not (isinstance(parent, str) and _TRACEPARENT.fullmatch(parent)):
        return {"traceparent": f"00-{trace_id_of(root_id).hex()}-{span_id_of(task['task_id']).hex()}-01"}
    headers = {"traceparent": parent}
    if isinstance(state, str) and state.isascii() and state.isprintable():
        headers["tracestate"] = state
    return headers


def _object(metadata: str) -> dict[str, Any]:
    try:
        found = jsonio.decode(metadata)
    except InvalidJSON:  # another program wrote it
        return {}
    return found if isinstance(found, dict) else {}

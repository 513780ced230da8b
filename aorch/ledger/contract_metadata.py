"""The metadata of a REQUEST: the caller's own under `custom`, everything else is written by aorch.

In contracts written before `custom` existed, and in imported ones, the caller's keys are next to aorch's. `read_metadata`
reads both forms; no other code parses the metadata of a REQUEST.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from aorch.ledger.record import object_in, text_in

REQUESTED = "requested"
"""`routing.reason` of a REQUEST whose caller requested the agent by its id."""
ANNOTATIONS = frozenset(
    (
        "step",
        "index",
        "resumes",
        "retry_of",
        "rerun_of",
        "line",
        "priority",
        "caller",
        "request_id",
        "traceparent",
        "tracestate",
    )
)
"""The keys by which aorch records the origin of a REQUEST: its pipeline, batch or HTTP request."""
_OWN = ANNOTATIONS | {"routing", "queue", "context", "custom"}
_REQUESTED_BEFORE = "asked for by id"
"""The sentences in `routing.chosen`, which preceded `routing.reason`."""


class RequestMetadata(NamedTuple):
    """The parts of a REQUEST's metadata: `custom` is the caller's, the rest aorch's. `require` are the required labels."""

    custom: dict[str, Any]
    context: dict[str, Any]
    annotations: dict[str, Any]
    queue: dict[str, Any]
    require: dict[str, Any]


def read_metadata(metadata: Mapping[str, Any]) -> RequestMetadata:
    """The parts of a REQUEST's metadata, in the present form and in the earlier one."""
    annotations = {name: value for name, value in metadata.items() if name in ANNOTATIONS}
    if isinstance(metadata.get("custom"), dict) and metadata.keys() <= _OWN:
        custom = metadata["custom"]
    else:
        custom = {name: value for name, value in metadata.items() if name not in _OWN or name == "custom"}
    context, queue = object_in(metadata, "context"), object_in(metadata, "queue")
    require = object_in(object_in(metadata, "routing"), "require")
    return RequestMetadata(custom, context, annotations, queue, require)


def requested_agent(metadata: Mapping[str, Any], to_agent: str | None) -> str | None:
    """The agent that the caller of a REQUEST requested by id. (`to_agent` may be an agent that aorch chose, or that claimed
    it.)
    """
    if "routing" in metadata:
        routing = object_in(metadata, "routing")
        requested = routing.get("reason") == REQUESTED or routing.get("chosen") == _REQUESTED_BEFORE
        return to_agent if requested else None
    queue = object_in(metadata, "queue")
    return text_in(queue, "agent_id") if "agent_id" in queue else to_agent

"""The metadata of a REQUEST: the caller's own under `custom`, everything else is written by aorch.

In contracts written before `custom` existed, and in imported ones, the caller's keys are next to aorch's. `read_metadata`
reads both forms; no other code parses the metadata of a REQUEST.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.errors import ContentErased, ParametersInvalid
from aorch.ledger.record import Record, object_in, text_in

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
REDACTED = "redacted"
"""The key of a list: the places in a REQUEST from which secrets were redacted."""
_OWN = ANNOTATIONS | {"routing", "queue", "context", "custom", REDACTED, "erased"}
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
    require = object_in(object_in(metadata, "routing"), "require") or object_in(queue, "require")
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


ERASED = "erased"
"""The key of an ErasureMark in the metadata of a contract whose content was erased."""
_KEPT_IDS = ("resumes", "retry_of", "rerun_of")
"""The keys of metadata that an erasure keeps if they contain IDs of contracts."""
_ID = re.compile("[0-9A-Z]{26}")


class ErasureMark(NamedTuple):
    """Who erased the content of a contract, when (RFC 3339) and why; `reason` can be empty."""

    at: str
    by: str
    reason: str
    erasure_id: str

    def __str__(self) -> str:
        return f"erased by {self.by} at {self.at}{f': {self.reason}' if self.reason else ''}"


def reject_redacted(request: Record) -> None:
    """Raise ParametersInvalid if parts of that REQUEST were redacted, so that its task cannot run again."""
    places = jsonio.decode(request.metadata).get(REDACTED) if f'"{REDACTED}"' in request.metadata else None
    if isinstance(places, list) and places:
        raise ParametersInvalid(
            f"{places[0]!r} of {request.contract_id} was secret, so its value is not in the ledger",
            "Run the task again with its value.",
        )


def mark_of(record: Record) -> ErasureMark | None:
    """The mark of that contract; None if its content was not erased. Reads metadata only if it may have one."""
    return erasure_mark(jsonio.decode(record.metadata)) if '"erased"' in record.metadata else None


def erasure_mark(metadata: Mapping[str, Any]) -> ErasureMark | None:
    """The mark of a contract whose content was erased; None for any other contract."""
    found = metadata.get(ERASED)
    if not isinstance(found, dict):
        return None
    mark = ErasureMark(*(text_in(found, name) or "" for name in ErasureMark._fields))
    return mark if mark.at and mark.erasure_id else None


def reject_erased(record: Record) -> None:
    """Raise ContentErased if the content of that contract was erased."""
    if (mark := mark_of(record)) is not None:
        raise ContentErased(
            f"contract {record.contract_id} was {mark}",
            "Its parameters and its result are gone. Run the task again yourself.",
        )


def erased_metadata(metadata: Mapping[str, Any], mark: ErasureMark) -> dict[str, Any]:
    """The metadata of a contract after its erasure: the IDs of contracts, the token that called, and the mark."""
    kept: dict[str, Any] = {name: found for name in _KEPT_IDS if _ID.fullmatch(found := text_in(metadata, name) or "")}
    caller = metadata.get("caller")
    if isinstance(caller, dict) and caller.keys() == {"id", "name"}:
        kept["caller"] = caller
    return {**kept, ERASED: mark._asdict()}

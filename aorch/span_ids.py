"""The ids of traces and spans, derived from contract ids: an exchange that is exported again has the same ids."""

import re
from hashlib import sha256
from typing import Any, NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INVALID_VERSION = "ff"
_SAMPLED = 1


class TraceContext(NamedTuple):
    """The trace of an exchange, and the span above it (b"": none). Spans of a trace that is not sampled are not exported."""

    trace_id: bytes
    parent_span_id: bytes
    is_sampled: bool = True
    state: str = ""


def trace_id_of(root_id: str) -> bytes:
    """The trace of a REQUEST without a parent and of all REQUESTs below it: 16 bytes of the SHA-256 of `trace ID`."""
    return _hash(f"trace {root_id}")[:16]


def span_id_of(request_id: str) -> bytes:
    """The span of an exchange: 8 bytes of the SHA-256 of `span ID`."""
    return _hash(f"span {request_id}")[:8]


def attempt_span_id_of(request_id: str, number: int) -> bytes:
    """The span of an attempt: 8 bytes of the SHA-256 of `span ID NUMBER`."""
    return _hash(f"span {request_id} {number}")[:8]


def context_in(metadata: dict[str, Any]) -> TraceContext | None:
    """The context that the caller sent (`traceparent`, W3C Trace Context); None if it sent none, or an invalid one."""
    given, state = metadata.get("traceparent"), metadata.get("tracestate")
    found = _TRACEPARENT.fullmatch(given) if isinstance(given, str) else None
    if found is None or found[1] == _INVALID_VERSION or (found[1] == "00" and found[5]):
        return None
    trace_id, span_id = bytes.fromhex(found[2]), bytes.fromhex(found[3])
    if not any(trace_id) or not any(span_id):
        return None
    is_sampled = bool(int(found[4], 16) & _SAMPLED)
    return TraceContext(trace_id, span_id, is_sampled, state if isinstance(state, str) else "")


def _hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()

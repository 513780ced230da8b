"""A receiver of spans: a small real server that decodes OTLP with OpenTelemetry's schema, and can be as unkind as real ones."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from doubles import Double
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class ReceivedSpan:
    """A span that arrived; ids in hex."""

    trace_id: str
    span_id: str
    parent: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    status: int
    message: str
    trace_state: str
    service: str


class OtlpDouble(Double):
    """Takes every request, unless `refuse` gives the status (and the headers) of another answer for its spans."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[ReceivedSpan] = []
        self.requests = 0
        self.headers: list[dict[str, str]] = []
        self.refuse: Callable[[list[ReceivedSpan]], tuple[int, dict[str, str]] | None] = lambda _: None
        self.rejected = 0
        """How many spans it says that it rejected, although it answers 200."""

    def answer(self, method: str, path: str, headers: Any, body: Any) -> tuple[int, Any, dict[str, str]] | None:
        assert (method, path) == ("POST", "/v1/traces")
        assert headers["Content-Type"] == "application/x-protobuf"
        assert headers["Content-Encoding"] == "gzip"
        self.requests += 1
        self.headers.append({name.lower(): value for name, value in headers.items()})
        found = spans_in(gzip.decompress(body))
        if (refusal := self.refuse(found)) is not None:
            status, more = refusal
            return status, b"not now", more
        self.spans += found
        partial = ExportTracePartialSuccess(
            rejected_spans=self.rejected, error_message="too old" if self.rejected else ""
        )
        answer = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
        return 200, answer, {"Content-Type": "application/x-protobuf"}

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]


def spans_in(body: bytes) -> list[ReceivedSpan]:
    """The spans of a request."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        ReceivedSpan(
            span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name, span.kind,
            span.start_time_unix_nano, span.end_time_unix_nano, _attributes(span.attributes), span.status.code,
            span.status.message, span.trace_state, _attributes(resource.resource.attributes)["service.name"],
        )
        for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]  # fmt: skip


def _attributes(pairs: Any) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [each.string_value for each in value.values] if kind == "array_value" else value
    return found

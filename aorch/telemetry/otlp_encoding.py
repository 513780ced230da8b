"""Encodes spans as OTLP protobuf (https://opentelemetry.io/docs/specs/otlp/), with the package opentelemetry-proto."""

from collections.abc import Iterable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as proto

from aorch.telemetry import span_names as names
from aorch.telemetry.exchange_spans import Span, Value

_SAMPLED = 1


def encoded(spans: Iterable[Span], service_name: str, version: str) -> bytes:
    """The body of a request that exports `spans` of that service and version of aorch."""
    resource = {
        names.SERVICE_NAME: service_name,
        names.SERVICE_VERSION: version,
        names.OPENINFERENCE_PROJECT_NAME: service_name,
    }
    scope = proto.ScopeSpans(scope=InstrumentationScope(name="aorch", version=version), spans=map(_span, spans))
    of_resource = proto.ResourceSpans(resource=Resource(attributes=_attributes(resource)), scope_spans=[scope])
    body: bytes = ExportTraceServiceRequest(resource_spans=[of_resource]).SerializeToString()
    return body


def rejected_spans(body: bytes) -> tuple[int, str]:
    """From the body of a response: how many spans the receiver rejects although it accepted the others, and why.

    Raises ValueError if it is no such body.
    """
    try:
        found = ExportTraceServiceResponse.FromString(body).partial_success
    except Exception as error:  # protobuf has an error class for each of its implementations
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return found.rejected_spans, found.error_message


def _span(span: Span) -> proto.Span:
    status = proto.Status(code=proto.Status.STATUS_CODE_OK)
    if span.failed:
        status = proto.Status(code=proto.Status.STATUS_CODE_ERROR, message=span.error)
    return proto.Span(
        trace_id=span.trace.trace_id,
        span_id=span.span_id,
        parent_span_id=span.trace.parent_span_id,
        trace_state=span.trace.state,
        flags=_SAMPLED,
        name=span.name,
        kind=proto.Span.SPAN_KIND_CLIENT if span.calls_agent else proto.Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_attributes(span.attributes),
        status=status,
    )


def _attributes(attributes: dict[str, Value] | dict[str, str]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _value(value: Value) -> AnyValue:
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(_value, value)))
    if isinstance(value, int):
        return AnyValue(int_value=max(-(2**63), min(value, 2**63 - 1)))
    return AnyValue(string_value=value.encode("utf-8", "replace").decode())

"""The spans of exchanges: one for each exchange, and below it one for each attempt."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aorch import jsonio
from aorch.clock import from_rfc3339
from aorch.errors import InvalidJSON
from aorch.ledger.attempt import Attempt
from aorch.ledger.ended_exchanges import EndedExchange, EndedExchanges
from aorch.ledger.record import INTERRUPTED, ORCHESTRATOR, number_in, object_in, text_in
from aorch.span_ids import TraceContext, attempt_span_id_of, context_in, span_id_of, trace_id_of
from aorch.telemetry import span_names as names

Value = str | int | list[str]
JSON = "application/json"
REMEMBERED = 10_000
"""Number of REQUESTs whose trace is cached."""
DEEPEST = 64
"""Maximum number of levels of delegation that are followed."""


@dataclass(slots=True)
class Span:
    """A span. Times are in ns since 1970. `calls_agent`: it is the call of another program (CLIENT). `error`: the message of a
    failure, empty if it is not exported.
    """

    trace: TraceContext
    span_id: bytes
    name: str
    start_ns: int
    end_ns: int
    calls_agent: bool
    attributes: dict[str, Value] = field(default_factory=dict)
    failed: bool = False
    error: str = ""


class SpanBuilder:
    """Makes the spans of exchanges. `content`: with parameters, results and error messages."""

    def __init__(self, source: EndedExchanges, *, content: bool) -> None:
        self._source, self._content = source, content
        self._traces: dict[str, TraceContext] = {}

    def spans(self, exchanges: Sequence[EndedExchange]) -> list[list[Span]]:
        """The spans of each exchange; none of an exchange whose caller does not sample its trace."""
        ids = [each.request_id for each in exchanges if each.request_id is not None]
        attempts = self._source.attempts(ids)
        return [self._of_exchange(each, attempts.get(each.request_id or "", [])) for each in exchanges]

    def _of_exchange(self, exchange: EndedExchange, attempts: list[Attempt]) -> list[Span]:
        asked, told = _object(exchange.asked_metadata), _object(exchange.answer_metadata)
        request_id = exchange.request_id or exchange.response_id
        trace = self._trace(request_id, exchange.parent_id, asked)
        if not trace.is_sampled:
            return []
        end_ns = _ns(exchange.ended_at)
        duration_ns = round((number_in(told, "duration_ms") or 0) * 1_000_000)
        start_ns = _ns(exchange.asked_at) if exchange.asked_at else end_ns - duration_ns
        calls = attempts or _only_call(exchange, told, request_id)
        agent = calls[-1].agent_id if calls else None
        whole = Span(trace, span_id_of(request_id), _name(agent), min(start_ns, end_ns), end_ns, calls_agent=False)
        whole.attributes = {
            **_common(exchange, agent, names.AGENT),
            names.AORCH_CONTRACT_ID: request_id,
            names.AORCH_RESPONSE_ID: exchange.response_id,
            names.AORCH_STATUS: exchange.status,
            names.AORCH_FROM_AGENT: exchange.asked_by or ORCHESTRATOR,
        }
        if exchange.priority is not None:
            whole.attributes[names.AORCH_PRIORITY] = exchange.priority
        self._add_outcome(whole, exchange, text_in(told, "code"))
        found, below = [whole], TraceContext(trace.trace_id, whole.span_id, state=trace.state)
        for call in calls:
            span = Span(
                below, attempt_span_id_of(request_id, call.number), _name(call.agent_id), 0, end_ns, calls_agent=True
            )
            span.attributes = {**_common(exchange, call.agent_id, names.CHAIN), names.AORCH_ATTEMPT: call.number}
            span.start_ns = _ns(call.started_at) if attempts else max(end_ns - duration_ns, start_ns)
            span.end_ns = max(_ns(call.ended_at) if attempts and call.ended_at else end_ns, span.start_ns)
            if call is calls[-1]:
                self._add_outcome(span, exchange, call.code or text_in(told, "code"))
                _add_model(span, told)
            elif call.code is not None or call.ended_at is None:
                span.failed, span.attributes[names.ERROR_TYPE] = True, call.code or INTERRUPTED
                span.error = (call.error or "") if self._content else ""
            found.append(span)
        return found

    def _add_outcome(self, span: Span, exchange: EndedExchange, code: str | None) -> None:
        if exchange.status != "completed":
            span.failed, span.attributes[names.ERROR_TYPE] = True, code or exchange.status
            span.error = (exchange.error or "") if self._content else ""
        if self._content:
            if exchange.payload is not None:
                span.attributes |= {names.INPUT_VALUE: exchange.payload, names.INPUT_MIME_TYPE: JSON}
            if exchange.result is not None:
                span.attributes |= {names.OUTPUT_VALUE: exchange.result, names.OUTPUT_MIME_TYPE: JSON}

    def _trace(self, request_id: str, parent_id: str | None, metadata: dict[str, Any]) -> TraceContext:
        """The trace of a REQUEST, with the span of its parent.

        A REQUEST without a parent continues the trace that its caller sent. All REQUESTs below it are in the same trace.
        """
        if parent_id is None:
            return context_in(metadata) or TraceContext(trace_id_of(request_id), b"")
        root, passed = self._traces.get(parent_id), [parent_id]
        while root is None:
            found = self._source.parent(passed[-1]) if len(passed) <= DEEPEST else None
            if found is not None and found[0] is not None:
                root = self._traces.get(found[0])
                passed.append(found[0])
            else:
                root = (found and context_in(_object(found[1]))) or TraceContext(trace_id_of(passed[-1]), b"")
        if len(self._traces) > REMEMBERED:
            self._traces.clear()
        self._traces |= dict.fromkeys(passed, root)
        return root._replace(parent_span_id=span_id_of(parent_id))


def _common(exchange: EndedExchange, agent: str | None, kind: str) -> dict[str, Value]:
    common: dict[str, Value] = {
        names.GEN_AI_OPERATION_NAME: names.INVOKE_AGENT,
        names.GEN_AI_CONVERSATION_ID: exchange.session_id,
        names.OPENINFERENCE_SPAN_KIND: kind,
        names.SESSION_ID: exchange.session_id,
        names.AORCH_CAPABILITY: exchange.capability,
    }
    return common if agent is None else {**common, names.GEN_AI_AGENT_NAME: agent, names.AGENT_NAME: agent}


def _name(agent: str | None) -> str:
    return names.INVOKE_AGENT if agent is None else f"{names.INVOKE_AGENT} {agent}"


def _only_call(exchange: EndedExchange, told: dict[str, Any], request_id: str) -> list[Attempt]:
    """The call of an exchange without rows in `attempts`; none if no agent was called."""
    was_lost = exchange.status == INTERRUPTED and told.get("delivered") is None
    agent = (exchange.to_agent if was_lost else None) or exchange.answered_by
    code = text_in(told, "code")
    if agent == ORCHESTRATOR or (code == "cancelled" and told.get("delivered") is False):
        return []
    return [Attempt(request_id, 1, agent, exchange.asked_at or exchange.ended_at, exchange.ended_at, code)]


def _add_model(span: Span, told: dict[str, Any]) -> None:
    """What a model reported: then the span is a call of a model."""
    model = text_in(told, "model")
    if model is None:
        return
    span.name = f"{names.CHAT} {model}"
    span.attributes |= {
        names.GEN_AI_OPERATION_NAME: names.CHAT,
        names.GEN_AI_RESPONSE_MODEL: model,
        names.OPENINFERENCE_SPAN_KIND: names.LLM,
        names.LLM_MODEL_NAME: model,
    }
    if (provider := text_in(told, "provider")) is not None:
        span.attributes[names.GEN_AI_PROVIDER_NAME] = provider
    if (reason := text_in(told, "stop_reason")) is not None:
        span.attributes[names.GEN_AI_RESPONSE_FINISH_REASONS] = [reason]
    usage = object_in(told, "usage")
    counts = {name: number for name in ("input", "output", "cached") if type(number := usage.get(name)) is int}
    for name, keys in (
        ("input", (names.GEN_AI_USAGE_INPUT_TOKENS, names.LLM_TOKEN_COUNT_PROMPT)),
        ("output", (names.GEN_AI_USAGE_OUTPUT_TOKENS, names.LLM_TOKEN_COUNT_COMPLETION)),
        ("cached", (names.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,)),
    ):
        if name in counts:
            span.attributes |= dict.fromkeys(keys, counts[name])
    if "input" in counts and "output" in counts:
        span.attributes[names.LLM_TOKEN_COUNT_TOTAL] = counts["input"] + counts["output"]


def _object(metadata: str | None) -> dict[str, Any]:
    try:
        found = jsonio.decode(metadata or "{}")
    except InvalidJSON:  # another program wrote it
        return {}
    return found if isinstance(found, dict) else {}


def _ns(moment: str) -> int:
    try:
        return round(from_rfc3339(moment).timestamp() * 1000) * 1_000_000
    except (ValueError, OverflowError):  # another program wrote it
        return 0

"""The export of spans, to a receiver that decodes them."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from doubles import running
from homes import Home
from ledgers import new_ledger, opened
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Kinds
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from otlp_double import OtlpDouble, ReceivedSpan
from rows import put, request, response
from serving import serving
from waiting import wait_for

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.config.settings import Config, OtelConfig
from aorch.errors import ServiceUnreachable
from aorch.ledger.database import LockedState, statements
from aorch.ledger.ledger import Ledger
from aorch.ledger.record import Record
from aorch.span_ids import attempt_span_id_of, span_id_of, trace_id_of
from aorch.telemetry import span_export, span_names

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
START, END = "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:02.500Z"


@pytest.fixture
def receiver() -> Iterator[OtlpDouble]:
    with running(OtlpDouble()) as receiver:
        yield receiver


@pytest.fixture
def path(tmp_path: Path) -> LedgerLocation:
    return new_ledger(tmp_path)


def configured(path: Path, receiver: OtlpDouble, **otel: Any) -> Config:
    return Config(path, trace_url="", otel=OtelConfig(endpoint=receiver.url, **otel))


async def pushed(path: Path, receiver: OtlpDouble, **otel: Any) -> span_export.ExportResult:
    return await span_export.push(configured(path, receiver, **otel), "1.2.3")


def exchange(asked: dict[str, Any] | None = None, told: dict[str, Any] | None = None, **answered: Any) -> list[Record]:
    """A REQUEST with the columns `asked`, and its RESPONSE with the metadata `told`, 2.5 s later."""
    asked = dict(asked or {})
    result = {"result": answered.pop("result")} if "result" in answered else {}
    its = request(created_at=START, metadata=jsonio.encode(asked.pop("its_metadata", {})), **asked)
    metadata = jsonio.encode({"duration_ms": 500} | (told or {}))
    return [its, response(its, created_at=END, metadata=metadata, **answered)._replace(**result)]


async def test_an_exchange_is_a_span_with_a_span_for_its_attempt_below_it(path: Path, receiver: OtlpDouble) -> None:
    its, answer = exchange({"session_id": "talk"})
    put(path, its, answer)
    assert (await pushed(path, receiver)).exported == 1
    whole, call = receiver.spans
    assert whole.trace_id == call.trace_id == trace_id_of(its.contract_id).hex()
    assert (whole.span_id, whole.parent) == (span_id_of(its.contract_id).hex(), "")
    assert (call.span_id, call.parent) == (attempt_span_id_of(its.contract_id, 1).hex(), whole.span_id)
    assert whole.name == call.name == "invoke_agent agent_example_001"
    assert (whole.kind, call.kind) == (Kinds.SPAN_KIND_INTERNAL, Kinds.SPAN_KIND_CLIENT)
    assert whole.status == call.status == Status.STATUS_CODE_OK
    assert whole.end_ns - whole.start_ns == 2_500_000_000
    assert (call.start_ns, call.end_ns) == (whole.end_ns - 500_000_000, whole.end_ns)
    assert whole.service == "aorch"
    assert whole.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "agent_example_001",
        "gen_ai.conversation.id": "talk",
        "openinference.span.kind": "AGENT",
        "session.id": "talk",
        "agent.name": "agent_example_001",
        "aorch.capability": "echo",
        "aorch.contract_id": its.contract_id,
        "aorch.response_id": answer.contract_id,
        "aorch.status": "completed",
        "aorch.from_agent": "orchestrator",
    }


async def test_a_call_of_a_model_has_its_model_and_tokens(path: Path, receiver: OtlpDouble) -> None:
    usage = {"input": 12, "output": 5, "cached": 3}
    put(path, *exchange(told={"provider": "openai", "model": "small-1", "stop_reason": "end_turn", "usage": usage}))
    await pushed(path, receiver)
    whole, call = receiver.spans
    assert call.name == "chat small-1"
    assert (
        call.attributes.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.response.model": "small-1",
            "gen_ai.response.finish_reasons": ["end_turn"],
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.usage.cache_read.input_tokens": 3,
            "openinference.span.kind": "LLM",
            "llm.model_name": "small-1",
            "llm.token_count.prompt": 12,
            "llm.token_count.completion": 5,
            "llm.token_count.total": 17,
        }.items()
    )
    assert not [name for name in whole.attributes if "token" in name]  # a receiver adds them up


async def test_each_attempt_has_its_span_agent_times_and_error(path: Path, receiver: OtlpDouble) -> None:
    its, answer = exchange({"to_agent": "b"}, {"attempts": 2})
    put(path, its, answer)
    with opened(path) as connection:
        for row in (
            (1, "a", START, "2026-01-01T00:00:01.000Z", "agent_busy", "too many"),
            (2, "b", "2026-01-01T00:00:02.000Z", END, None, None),
        ):
            connection.execute(statements.PUT_ATTEMPT, (its.contract_id, *row))
    await pushed(path, receiver)
    whole, first, second = receiver.spans
    assert [each.attributes["aorch.attempt"] for each in (first, second)] == [1, 2]
    assert [each.parent for each in (first, second)] == [whole.span_id] * 2
    assert (first.name, first.attributes["error.type"], first.status) == (
        "invoke_agent a",
        "agent_busy",
        Status.STATUS_CODE_ERROR,
    )
    assert first.message == ""
    assert (second.name, second.status, "error.type" in second.attributes) == (
        "invoke_agent b",
        Status.STATUS_CODE_OK,
        False,
    )
    assert second.start_ns - first.start_ns == 2_000_000_000
    assert whole.attributes["gen_ai.agent.name"] == "b"


async def test_a_delegated_exchange_is_below_its_parent_in_the_same_trace(path: Path, receiver: OtlpDouble) -> None:
    """Also if it ends first, as it does; and if its parent is below another one."""
    root, root_answer = exchange()
    child, child_answer = exchange({"parent_id": root.contract_id})
    leaf = exchange({"parent_id": child.contract_id})
    put(path, root, child, *leaf, child_answer, root_answer)
    await pushed(path, receiver)
    found = {
        span.attributes["aorch.contract_id"]: span for span in receiver.spans if span.kind == Kinds.SPAN_KIND_INTERNAL
    }
    assert {span.trace_id for span in receiver.spans} == {trace_id_of(root.contract_id).hex()}
    assert found[leaf[0].contract_id].parent == found[child.contract_id].span_id
    assert found[child.contract_id].parent == found[root.contract_id].span_id
    assert found[root.contract_id].parent == ""


async def test_the_trace_of_the_caller_is_continued_also_by_delegated_exchanges(
    path: Path, receiver: OtlpDouble
) -> None:
    root, root_answer = exchange({"its_metadata": {"traceparent": PARENT, "tracestate": "vendor=1"}})
    child = exchange({"parent_id": root.contract_id})
    put(path, root, *child, root_answer)
    await pushed(path, receiver)
    assert {span.trace_id for span in receiver.spans} == {PARENT[3:35]}
    (whole,) = (span for span in receiver.spans if span.attributes.get("aorch.contract_id") == root.contract_id)
    assert (whole.parent, whole.trace_state) == (PARENT[36:52], "vendor=1")


@pytest.mark.parametrize(
    "traceparent",
    [
        7,
        "",
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        "ff" + PARENT[2:],
        PARENT + "-more",
        PARENT.upper(),
    ],
)
async def test_an_invalid_trace_of_the_caller_is_ignored(path: Path, receiver: OtlpDouble, traceparent: object) -> None:
    its, answer = exchange({"its_metadata": {"traceparent": traceparent}})
    put(path, its, answer)
    await pushed(path, receiver)
    assert receiver.spans[0].trace_id == trace_id_of(its.contract_id).hex()


async def test_exchanges_whose_caller_does_not_sample_them_are_not_exported(path: Path, receiver: OtlpDouble) -> None:
    root, root_answer = exchange({"its_metadata": {"traceparent": PARENT[:-2] + "00"}})
    put(path, root, *exchange({"parent_id": root.contract_id}), root_answer)
    assert (await pushed(path, receiver)).due == 0
    assert receiver.requests == 0


async def test_content_is_exported_only_if_that_is_configured(path: Path, receiver: OtlpDouble) -> None:
    failure: dict[str, Any] = {"told": {"code": "agent_failed"}, "status": "failed"}
    put(path, *exchange({"payload": '{"text":"secret"}'}, **failure, error="secret", result='"secret"'))
    await pushed(path, receiver)
    assert "secret" not in str(receiver.spans)
    assert receiver.spans[0].attributes["error.type"] == "agent_failed"
    put(path, *exchange({"payload": '{"text":"hi"}'}, **failure, error="no words", result='["ho"]'))
    await pushed(path, receiver, content=True)
    for span in receiver.spans[2:]:
        assert span.message == "no words"
        assert span.attributes["input.value"] == '{"text":"hi"}'
        assert span.attributes["output.value"] == '["ho"]'
        assert span.attributes["input.mime_type"] == span.attributes["output.mime_type"] == "application/json"


async def test_a_task_without_an_agent_has_one_span_and_one_without_its_request_too(
    path: Path, receiver: OtlpDouble
) -> None:
    refused = exchange({"to_agent": None}, {"code": "no_agent"}, status="failed")
    orphan = response(request(), created_at=END, metadata='{"duration_ms":500}')
    put(path, *refused, orphan)
    await pushed(path, receiver)
    first, second, _ = receiver.spans
    assert (first.name, first.attributes["error.type"]) == ("invoke_agent", "no_agent")
    assert (second.end_ns - second.start_ns, second.attributes["aorch.contract_id"]) == (500_000_000, orphan.request_id)


async def test_every_exchange_is_exported_once_in_order_and_only_when_it_has_ended(
    path: Path, receiver: OtlpDouble
) -> None:
    rows = [exchange() for _ in range(450)]
    open_request = request(status="in_progress", completed_at=None)
    put(path, *(row for each in rows for row in each), open_request)
    first = await pushed(path, receiver)
    assert (first.exported, receiver.requests) == (450, 3)
    put(path, response(open_request))
    assert (await pushed(path, receiver)).exported == 1
    assert (await pushed(path, receiver)).exported == 0
    ids = [span.attributes["aorch.contract_id"] for span in receiver.spans if span.kind == Kinds.SPAN_KIND_INTERNAL]
    assert ids == [each[0].contract_id for each in rows] + [open_request.contract_id]


async def test_a_receiver_that_is_down_loses_nothing(path: Path, receiver: OtlpDouble) -> None:
    put(path, *exchange())
    receiver.refuse = lambda _: (503, {"Retry-After": "7"})
    result = await pushed(path, receiver)
    assert isinstance(result.error, ServiceUnreachable)
    assert (result.exported, result.due) == (0, 2)
    state = span_export.status(configured(path, receiver))
    assert state["last_error"]["failures"] == 1
    assert 5 < state["last_error"]["next_in_s"] <= 7
    export = span_export.SpanExport(configured(path, receiver), "1")
    with closing(export):
        waits = await export.run_round()
    assert (waits.exported, receiver.requests) == (0, 1)
    receiver.refuse = lambda _: None
    assert (await pushed(path, receiver)).exported == 1
    assert span_export.status(configured(path, receiver))["last_error"]["failures"] == 0


@pytest.mark.parametrize("status", [401, 404, 429, 500, 502])
async def test_a_wrong_address_or_token_loses_nothing(path: Path, receiver: OtlpDouble, status: int) -> None:
    put(path, *exchange())
    receiver.refuse = lambda _: (status, {})
    assert (await pushed(path, receiver)).due == 2
    receiver.refuse = lambda _: None
    assert (await pushed(path, receiver)).exported == 1


async def test_an_exchange_that_the_receiver_never_accepts_does_not_hold_up_the_others(
    path: Path, receiver: OtlpDouble
) -> None:
    rows = [exchange({"capability": f"c{number}"}) for number in range(20)]
    put(path, *(row for each in rows for row in each))

    def refuse(spans: list[ReceivedSpan]) -> tuple[int, dict[str, str]] | None:
        return (400, {}) if any(span.attributes["aorch.capability"] == "c13" for span in spans) else None

    receiver.refuse = refuse
    result = await pushed(path, receiver)
    assert (result.exported, result.rejected, result.due, result.error) == (19, 2, 0, None)
    assert rows[13][0].contract_id in span_export.status(configured(path, receiver))["last_rejection"]


async def test_spans_that_a_receiver_rejects_although_it_answers_200_are_reported(
    path: Path, receiver: OtlpDouble
) -> None:
    put(path, *exchange())
    receiver.rejected = 1
    assert (await pushed(path, receiver)).rejected == 1
    assert span_export.status(configured(path, receiver))["last_rejection"] == "too old"


async def test_one_process_exports_at_a_time(path: Path, receiver: OtlpDouble) -> None:
    put(path, *exchange())
    with closing(LockedState(path, "otel")):
        assert (await pushed(path, receiver)).elsewhere
    assert (await pushed(path, receiver)).exported == 1


async def test_many_queued_tasks_are_searched_once(path: Path, receiver: OtlpDouble) -> None:
    """They are no exchanges yet, so the position passes them."""
    put(path, *(request(status="pending", completed_at=None) for _ in range(span_export.UNSENT)), *exchange())
    assert (await pushed(path, receiver)).due == 0
    put(path, *(request(status="pending", completed_at=None) for _ in range(span_export.UNSENT)))
    with closing(span_export.SpanExport(configured(path, receiver), "1")) as export:
        assert not export.any_due()
        await export.run_round()
        assert export.due() == 0


def test_ids_do_not_change_between_versions() -> None:
    """Exported spans are found again by them."""
    assert trace_id_of("01KFV70HW83SYH1HAX57ZG0001").hex() == "75959eb17ae688c60fe6df33e4ac5630"
    assert span_id_of("01KFV70HW83SYH1HAX57ZG0001").hex() == "978a8d755a4258ff"


def test_names_of_attributes_are_unique() -> None:
    keys = [value for name, value in vars(span_names).items() if name.isupper() and "." in str(value)]
    assert len(keys) == len(set(keys))


# Through commands and the server


def test_commands_export_report_and_leave_out(home: Home, receiver: OtlpDouble) -> None:
    off = home.aorch("otel", "push")
    assert (off.code, off.err.splitlines()[0]) == (2, "error: no receiver of spans is configured")
    home.write(
        "aorch.toml", f'[otel]\nendpoint = "{receiver.url}"\nheaders_env = "OTEL_HEADERS"\nservice_name = "shop"\n'
    )
    home.environment["OTEL_HEADERS"] = "authorization=Bearer%20abc,x-team=a"
    home.aorch("run", "echo", "text=hi")
    assert home.aorch("otel", "skip").out == "2 contracts would be left out; run it again with --yes\n"
    assert home.aorch("otel", "skip", "--yes").out == "2 contracts left out\n"
    home.aorch("run", "echo", "text=hi")
    assert home.aorch("otel", "status").out == f"receiver   {receiver.url}\ncontracts  2 due\ncontent    not exported\n"
    done = home.aorch("otel", "push")
    assert (done.code, done.out, done.err) == (0, "1 exported, 0 due\n", "")
    assert {span.service for span in receiver.spans} == {"shop"}
    assert receiver.headers[0].items() >= {"authorization": "Bearer abc", "x-team": "a"}.items()
    receiver.refuse = lambda _: (503, {})
    home.aorch("run", "echo", "text=hi")
    failed = home.aorch("otel", "push", "--json")
    assert failed.code == 3
    assert "does not accept spans: 503 not now" in failed.err
    assert "abc" not in failed.err + failed.out


@pytest.mark.parametrize(
    ("line", "key"), [('endpoint = "localhost:4318"', "otel.endpoint"), ('headers = "x"', "otel.headers")]
)
def test_an_invalid_table_is_refused_with_its_key(home: Home, line: str, key: str) -> None:
    home.write("aorch.toml", f"[otel]\n{line}\n")
    refused = home.aorch("otel", "status")
    assert refused.code == 2
    assert key in refused.err


def test_a_server_exports_tasks_of_every_process_and_works_while_the_receiver_is_down(
    home: Home, receiver: OtlpDouble
) -> None:
    home.write("aorch.toml", f'[otel]\nendpoint = "{receiver.url}"\n')
    receiver.refuse = lambda _: (503, {})
    body = {"session_id": "s", "capability": "echo", "parameters": {"text": "hi"}}
    with serving(home, "--workers", "2") as server:
        home.aorch("run", "echo", "text=hi")
        answer = server.post("/v1/orchestrate", json=body, headers={"traceparent": PARENT})
        assert answer.json()["success"]
        wait_for(lambda: receiver.requests)
        wait_for(lambda: "spans stay due" in server.log)
        receiver.refuse = lambda _: None
        wait_for(lambda: len(receiver.spans) >= 4)
        wait_for(lambda: "the receiver of spans works again" in server.log)
    assert {span.trace_id for span in receiver.spans if span.parent == PARENT[36:52]} == {PARENT[3:35]}
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans) == 4


async def test_a_loop_ends_when_it_is_cancelled(path: Path, receiver: OtlpDouble) -> None:
    ledger, turned = Ledger(path), asyncio.Event()
    export = span_export.BackgroundExport(configured(path, receiver), "1", ledger.changes, pytest.fail)
    running_loop = asyncio.ensure_future(export.run(turned.set))
    await asyncio.wait_for(turned.wait(), 30)
    put(path, *exchange())
    await asyncio.to_thread(wait_for, lambda: len(receiver.spans) == 2)
    running_loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running_loop
    ledger.close()

"""Bodies: the accepted codings, and that an attacker's bodies cost no more than their bytes."""

import gzip
import json
import zlib
from itertools import product

import psutil
import pytest
import shared
from api import ask, problem
from hypothesis import given
from hypothesis import strategies as st
from serving import Server

from aorch.server.request_body import is_deeper_than
from aorch.server.request_parsing import parse_body, plain_task
from aorch.server.schemas.tasks import OrchestrateBody

TASK = json.dumps({"session_id": "coded", "capability": "echo", "parameters": {"text": "hi"}}).encode()

home, server = shared.home, shared.server


def headers(coding: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Content-Encoding": coding}


def raw_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(body) + deflater.flush()


def test_gzip_and_deflate_are_accepted_under_all_their_names(server: Server) -> None:
    bodies = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "Identity": bytes}
    for coding, compress in [*bodies.items(), ("DEFLATE", raw_deflate)]:
        response = server.post("/v1/orchestrate", content=compress(TASK), headers=headers(coding))
        assert (response.status_code, response.json()["success"]) == (200, True), coding


def test_another_coding_is_rejected_by_name(server: Server) -> None:
    for coding, path in product(("br", "zstd", "gzip, gzip", "gzip;q=1"), ("/v1/orchestrate", "/v1/compress")):
        response = server.post(path, content=gzip.compress(TASK), headers=headers(coding))
        assert coding in problem(response, 415, "encoding_not_supported")["detail"]
        assert response.headers["Accept-Encoding"] == "gzip, deflate"
    twice = [("Content-Type", "application/json"), ("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]
    problem(server.post("/v1/orchestrate", content=gzip.compress(TASK), headers=twice), 415, "encoding_not_supported")


@pytest.mark.parametrize(
    "body",
    [b"", b"no gzip", gzip.compress(TASK)[:-9], gzip.compress(TASK) + b"more", zlib.compress(TASK)],
    ids=["empty", "plain", "cut short", "too long", "another coding"],
)
def test_a_body_that_does_not_match_its_coding_is_a_bad_request(server: Server, body: bytes) -> None:
    problem(server.post("/v1/orchestrate", content=body, headers=headers("gzip")), 400, "body_broken")


def test_only_bodies_that_are_read_are_decompressed_and_only_up_to_the_limit(server: Server) -> None:
    bomb = gzip.compress(b"0" * 150_000_000, 1)
    process = psutil.Process(server.process.pid)
    before = process.cpu_times().user
    for _ in range(3):
        problem(server.post("/nothing", content=bomb, headers=headers("gzip")), 404, "no_route")
        problem(server.post("/v1/orchestrate", content=bomb, headers=headers("gzip")), 413, "too_large")
        text = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
        problem(server.post("/v1/orchestrate", content=bomb, headers=text), 415, "not_json")
    assert process.cpu_times().user - before < 0.5  # unpacked they are 1.3 GB, which takes seconds


def test_a_byte_order_mark_is_ignored(server: Server) -> None:
    response = server.post("/v1/orchestrate", content=b"\xef\xbb\xbf" + TASK, headers=headers("identity"))
    assert response.json()["success"] is True


def test_a_name_of_a_megabyte_gets_its_error_at_once(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    before = process.cpu_times().user
    assert "Available" in problem(ask(server, "e" * 1_000_000), 404, "no_agent")["hint"]
    assert "Available" in problem(ask(server, agent_id="e" * 1_000_000), 404, "no_agent")["hint"]
    assert process.cpu_times().user - before < 0.5
    assert "Did you mean echo" in problem(ask(server, "ehco"), 404, "no_agent")["hint"]


nested = st.recursive(
    st.text(alphabet='[]{}"\\a', max_size=4), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(nested, st.integers(1, 12), st.integers(0, 12))
def test_the_depth_is_that_of_the_parsed_value(value: object, most: int, more: int) -> None:
    def depth(value: object) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    for _ in range(more):
        value = [value, "]"]
    assert is_deeper_than(most, json.dumps(value).encode()) is (depth(value) > most)


def test_a_number_that_json_does_not_allow_is_rejected_anywhere_in_a_body(server: Server) -> None:
    given = (
        '{"session_id": "numbers", "capability": "echo", "parameters": {"text": "hi", "n": %s}, "context": {"n": %s}}'
    )
    for numbers in (
        ("NaN", "1"),
        ("1", "Infinity"),
        ("-Infinity", "1"),
        ("1e999", "1"),
        ("1", "[-1e400]"),
        ("1", "1" * 400 + ".5"),
    ):
        for path in ("/v1/orchestrate", "/v1/tasks"):
            response = server.post(path, content=given % numbers, headers={"Content-Type": "application/json"})
            assert "the body is not JSON" in problem(response, 400, "invalid_json")["detail"]
    assert server.get("/v1/contracts", params={"session_id": "numbers"}).json()["total"] == 0
    numbers = ("12345678901234567890123", "1e300")
    server.post("/v1/orchestrate", content=given % numbers, headers={"Content-Type": "application/json"})
    kept = server.get("/v1/contracts", params={"session_id": "numbers"})
    assert "12345678901234567890123" in kept.text


ODD_VALUES = (
    *("-0", "-0.0", "0.1", "1E2", "1e-400", "1e400", "18446744073709551616", "9" * 400, "9" * 5000, "01", "1.", "NaN"),
    *("true", "null", "[1,2]", "[1,]", '{"a":1,"a":2}', '{"a":{"b":[{}]}}', '""', '"\u00e9"', '"\\ud83e\\udd89"'),
    *('"\\ud800"', '"\\udc00x"', '"\\u0000"', '"a\x00"', '"a\x01"', '"\x7f"', '"\\x"', '"' + "\U0001f989" * 255 + '"'),
    '"' + "\U0001f989" * 256 + '"',
)
PLACES = (*OrchestrateBody.model_fields, "unknown", "metadata", "annotations", "priority")


def test_a_body_that_takes_the_short_way_means_the_same_as_by_its_schema() -> None:
    """Every field with every odd value, alone and inside an object: `plain_task` returns None or what the schema gives."""
    taken = 0
    for place, value, form in product(PLACES, ODD_VALUES, ("%s", '{"x":%s}')):
        fields = {"session_id": '"s"', "capability": '"c"', place: form % value}
        body = "{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}"
        plain = plain_task(raw := body.encode("utf-8", "surrogatepass"))
        if plain is not None:
            by_schema = parse_body(raw, OrchestrateBody)
            for name in OrchestrateBody.model_fields:
                assert repr(getattr(plain, name)) == repr(getattr(by_schema, name)), body[:200]
            taken += 1
    assert taken > 50
    assert plain_task(TASK) is not None

"""No request makes the server fail, whatever its body, path, query and headers are."""

import json
import re

import httpx
from homes import Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import serving

TASK = {"capability": "echo", "parameters": {"text": "hi"}, "session_id": "s"}


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
_known = st.sampled_from(
    ["capability", "session_id", "parameters", "context", "agent_id", "from_agent", "parent_id", "timeout_s", "x"]
)
_bodies = st.one_of(
    st.binary(max_size=200),
    _json.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(_known, _json).map(lambda value: json.dumps({"capability": "echo", **value}).encode()),
    st.fixed_dictionaries({"text": st.text(alphabet=st.characters(exclude_categories=[]), max_size=20)}).map(
        lambda value: json.dumps({**TASK, "parameters": value}).encode()
    ),
)
_INTERNALS = re.compile(r"Traceback \(most|\w\.py\W{1,4}line \d")
"""Of a traceback. Does not match itself: Hypothesis also sends the strings of this file, and the server sends them back."""
_hostile = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


def sound(response: httpx.Response, *, below: int = 500) -> None:
    """`response` is a result or a problem, and reveals no internals."""
    assert response.status_code < below, response.text
    wanted = "application/problem+json" if response.is_error else "application/json"
    assert response.headers["Content-Type"] == wanted
    assert response.is_error is ("code" in response.json())
    assert not _INTERNALS.search(response.text)


def test_no_body_makes_the_server_fail(home: Home) -> None:
    with serving(home) as server:

        @_hostile
        @given(_bodies)
        def try_(body: bytes) -> None:
            sound(server.post("/v1/orchestrate", content=body, headers={"Content-Type": "application/json"}))

        try_()
    assert "Traceback" not in server.log


def test_no_path_query_or_header_makes_the_server_fail(home: Home) -> None:
    odd = st.binary(max_size=12).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw)) | st.text(
        alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#\\"), max_size=12
    )
    paths = st.sampled_from(["/v1/agents/", "/v1/contracts/", "/v1/contracts?text=", "/v1/contracts?since=", "/v1/"])
    paths |= st.sampled_from(
        ["/v1/exchanges?text=", "/v1/exchanges?error=", "/v1/exchanges?caller=", "/v1/memory/search?text="]
    )
    more = st.sampled_from(
        [
            "/v1/sessions?order=last_at&cursor=",
            "/v1/sessions?cursor=",
            "/v1/contracts?session_id=",
            "/v1/contracts?limit=",
            "/",
        ]
    )
    values = st.binary(max_size=20).map(lambda raw: re.sub(rb"[\x00-\x1f\x7f]", b"", raw).strip())
    names = st.sampled_from(["X-Request-ID", "traceparent", "tracestate", "Content-Type", "Accept", "Idempotency-Key"])
    with serving(home) as server:

        @_hostile
        @given(paths | more, odd, names, values)
        def try_(path: str, tail: str, name: str, value: bytes) -> None:
            response = server.get(path + tail, headers=[(name.encode(), value)])  # type: ignore[arg-type]
            if "json" in response.headers["Content-Type"] or response.is_error:
                sound(response)
            asked = server.post("/v1/orchestrate", json=TASK, headers=[(name.encode(), value)])  # type: ignore[arg-type]
            sound(asked)

        try_()
    assert "Traceback" not in server.log

"""`Host`, `Origin` and CORS: which web pages can call a server on this machine."""

import pytest
from api import problem
from homes import Home
from serving import serving
from tokens import token

from aorch.config.settings import ServeConfig
from aorch.errors import ConfigInvalid
from aorch.server.origin_policy import OriginPolicy

TASK = {"capability": "echo", "parameters": {"text": "hi"}, "session_id": "s"}


def test_on_loopback_only_this_machine_s_names_and_own_origin_are_accepted(home: Home) -> None:
    with serving(home) as server:
        own = server.url.removeprefix("http://")
        for host in (own, "localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8888", "127.0.0.2"):
            assert server.get("/v1/agents", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.", "10.0.0.1", "[::2]", "", "a@localhost"):
            problem(server.get("/v1/agents", headers={"Host": host}), 421, "misdirected")
        assert server.get("/v1/agents", headers={"Origin": server.url}).status_code == 200
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "", f"{server.url}.evil.example"):
            problem(server.get("/v1/agents", headers={"Origin": origin}), 403, "origin_refused")
            problem(server.post("/v1/orchestrate", json=TASK, headers={"Origin": origin}), 403, "origin_refused")
    assert not home.rows("SELECT 1 FROM contracts")


def test_cors_headers_are_sent_only_if_configured(home: Home) -> None:
    ask = {"Origin": "https://ui.example", "Access-Control-Request-Method": "POST"}
    with serving(home) as server:
        problem(server.client.options("/v1/orchestrate", headers=ask), 403, "origin_refused")
        own = server.client.options("/v1/orchestrate", headers={**ask, "Origin": server.url})
        problem(own, 405, "method_not_allowed")
        assert not [name for name in own.headers if name.startswith("access-control")]
    home.write("aorch.toml", '[serve]\ncors_origins = ["https://ui.example"]')
    token(home, "ci")
    with serving(home) as server:
        allowed = server.client.options("/v1/orchestrate", headers=ask)
        assert allowed.status_code == 204
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://ui.example"
        assert allowed.headers["Access-Control-Allow-Methods"] == "POST"
        assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
        assert allowed.headers["Vary"] == "Origin"
        readable = server.get("/v1/agents", headers={"Origin": "https://ui.example"})
        assert problem(readable, 401, "not_authorised")  # which the page may read
        assert readable.headers["Access-Control-Allow-Origin"] == "https://ui.example"
        assert "X-Request-ID" in readable.headers["Access-Control-Expose-Headers"]
        plain = server.get("/v1/health")
        assert plain.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Origin" not in plain.headers
        problem(server.get("/v1/health", headers={"Origin": "https://evil.example"}), 403, "origin_refused")


@pytest.mark.parametrize("origin", ["*", "ui.example", "https://ui.example/path", "null", "https://*.example"])
def test_an_invalid_origin_is_rejected(origin: str) -> None:
    with pytest.raises(ConfigInvalid, match="invalid origin"):
        OriginPolicy(ServeConfig(cors_origins=[origin]), "127.0.0.1")

"""Who is let in, and what a hostile or a careless client cannot do: tokens, `Host` and `Origin`, limits, slow clients."""

import asyncio
import contextlib
import gzip
import json
import re
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import WAIT_S, Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import START_S, Server, serving

from aorch.config.settings import Config, ServeConfig
from aorch.errors import ConfigInvalid
from aorch.server.authentication import Authenticator
from aorch.server.limits import MAX_CALLERS, RateLimit
from aorch.server.origin_policy import OriginPolicy
from aorch.server.problems import HttpError
from aorch.server.unsent_responses import UnsentResponses

TASK = {"capability": "echo", "parameters": {"text": "hi"}, "session_id": "s"}
WaitFor = Callable[[Callable[[], Any]], Any]


def token(home: Home, name: str, *arguments: str) -> str:
    done = home.aorch("tokens", "create", name, *arguments)
    assert done.code == 0, done.err
    return done.out.strip()


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def refused(response: httpx.Response, status: int, code: str) -> Any:
    """`response` is that refusal, with all that a problem has; its body."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"], body["success"], body["error"]) == (status, code, False, body["detail"])
    return body


# Tokens, made and revoked


def test_a_token_is_shown_once_and_kept_as_a_hash(home: Home) -> None:
    made = home.aorch("tokens", "create", "ci", "--scope", "run", "--expires", "30d", "--agent", "bob")
    assert re.fullmatch(r"aorch_[\w-]{43}\n", made.out)
    assert made.err == ""  # nobody watches
    secret = made.out.strip()
    listed = home.aorch("tokens", "list")
    as_json = home.aorch("tokens", "list", "--json")
    assert listed.out.split("\t")[1:4] == ["ci", "run", "bob"]
    assert secret not in listed.out + as_json.out
    (row,) = as_json.json["tokens"]
    assert (row["name"], row["scopes"], row["agent_id"], row["state"]) == ("ci", ["run"], "bob", "valid")
    assert "sha256" not in row
    for file in home.folder.glob("ledger.db*"):
        assert file.is_dir() or secret.removeprefix("aorch_").encode() not in file.read_bytes()


def test_a_token_reads_and_runs_where_nothing_is_said_and_json_holds_all_of_it(home: Home) -> None:
    made = home.aorch("tokens", "create", "ci", "--json").json
    assert made["scopes"] == ["read", "run"]
    assert made["token"].startswith("aorch_")
    assert made["expires_at"] is None


NO_TOKENS = [
    (("create", "taken"), 13, "token 'taken' already exists"),
    (("create", "x", "--expires", "soon"), 2, "--expires 'soon' is neither a time nor a delay"),
    (("create", "x", "--expires", "2020-01-01"), 2, "is in the past"),
    (("create", "x", "--expires", "99999999999w"), 2, "is neither a time nor a delay"),
    (("create", "x\ny"), 2, "invalid token name"),
    (("create", "x", "--agent", "orchestrator"), 2, "cannot be bound"),
    (("create", "x", "--scope", "everything"), 2, "everything"),
    (("revoke", "nobody"), 12, "no token with ID or name 'nobody'"),
]


def test_what_makes_no_token_is_refused(home: Home) -> None:
    token(home, "taken")
    for arguments, code, reason in NO_TOKENS:
        done = home.aorch("tokens", *arguments)
        assert (done.code, done.out) == (code, ""), arguments
        assert reason in done.err
    assert len(home.rows("SELECT * FROM tokens")) == 1


def test_a_token_is_revoked_by_id_or_name_or_when_it_leaked_by_itself(home: Home) -> None:
    first, second, third = (home.aorch("tokens", "create", name, "--json").json for name in "abc")
    assert home.aorch("tokens", "revoke", first["token_id"].lower()).code == 0
    assert home.aorch("tokens", "revoke", "b").code == 0
    assert third["token"] not in home.aorch("tokens", "revoke", third["token"]).out
    states = [row["state"] for row in home.aorch("tokens", "list", "--json").json["tokens"]]
    assert states == ["revoked"] * 3
    assert home.aorch("tokens", "create", "b").code == 0  # the name is free again
    unknown = home.aorch("tokens", "revoke", second["token"][:-1] + "=")
    assert second["token"][:-1] not in unknown.err


def test_the_statements_name_the_columns_of_the_table() -> None:
    from aorch.ledger.schema import Token
    from aorch.ledger.token_store import TokenRow

    assert list(TokenRow._fields) == [column.name for column in Token.__table__.columns]  # type: ignore[attr-defined]


# Tokens, shown to a server


def test_loopback_is_open_until_there_is_a_token_and_never_again_after_it(home: Home, wait_for: WaitFor) -> None:
    with serving(home) as server:
        assert server.post("/v1/orchestrate", json=TASK).status_code == 200
        secret = token(home, "ci")
        wait_for(lambda: server.get("/v1/agents").status_code == 401)
        missing = server.get("/v1/agents")
        assert "Authorization: Bearer" in refused(missing, 401, "not_authorised")["hint"]
        assert missing.headers["WWW-Authenticate"] == "Bearer"
        assert server.get("/v1/agents", headers=bearer(secret)).status_code == 200
        assert server.get("/v1/agents", headers={"Authorization": f"bEARER  {secret}"}).status_code == 200
        for wrong in (f"Basic {secret}", secret, "Bearer", f"Bearer {secret}x", "Bearer \u00e4\u00f6"):
            headers = {"Authorization": wrong.encode()}
            assert server.get("/v1/agents", headers=headers).status_code == 401, wrong  # type: ignore[arg-type]
        home.aorch("tokens", "revoke", "ci")
        revoked = time.monotonic()
        answer = wait_for(lambda: (got := server.get("/v1/agents", headers=bearer(secret))).is_error and got)
        assert time.monotonic() - revoked < 1.5
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert server.get("/v1/agents").status_code == 401
        assert server.get("/v1/health").status_code == 200


def test_a_token_ends_when_it_expires(home: Home, wait_for: WaitFor) -> None:
    secret = token(home, "brief", "--expires", "1h")
    with serving(home) as server:
        assert server.get("/v1/agents", headers=bearer(secret)).status_code == 200
        with contextlib.closing(sqlite3.connect(home.ledger)) as ledger, ledger:
            ledger.execute("UPDATE tokens SET expires_at = '2020-01-01T00:00:00.000Z'")  # an hour is long
        expired = wait_for(lambda: (got := server.get("/v1/agents", headers=bearer(secret))).is_error and got)
        assert refused(expired, 401, "not_authorised")["detail"] == "the token has expired"
        assert server.get("/v1/agents").status_code == 401
    assert home.aorch("tokens", "list").out.endswith("\texpired\n")


def test_each_route_wants_its_scope(home: Home) -> None:
    from aorch.server.route_table import ROUTES

    held = {scope: token(home, scope, "--scope", scope) for scope in ("read", "run", "agents", "admin")}
    with serving(home) as server:
        for route in ROUTES:
            path = re.sub("{.*}", "x", route.path)
            for scope, secret in held.items():
                with server.client.stream(route.method, path, headers=bearer(secret)) as response:
                    allowed = route.scope in ("none", scope) or scope == "admin"
                    assert (response.status_code in (401, 403)) is not allowed, (path, scope)
            with server.client.stream(route.method, path) as response:
                assert (response.status_code == 401) is (route.scope != "none"), path
        lacking = server.get("/v1/agents", headers=bearer(held["run"]))
        assert refused(lacking, 403, "forbidden")["detail"] == "the token lacks the scope 'read'"
        assert lacking.json()["hint"] == "Create one with `aorch tokens create NAME --scope read`."
        assert 'scope="read"' in lacking.headers["WWW-Authenticate"]


def test_who_called_stands_in_the_contract_and_the_token_nowhere(home: Home) -> None:
    secret = token(home, "ci")
    with serving(home, "--log-json") as server:
        done = server.post("/v1/orchestrate", json=TASK, headers=bearer(secret)).json()
        contract = server.get(f"/v1/contracts/{done['contract_id']}", headers=bearer(secret)).json()
        (row,) = home.aorch("tokens", "list", "--json").json["tokens"]
        assert contract["metadata"]["caller"] == {"id": row["token_id"], "name": "ci"}
        assert contract["from_agent"] == "orchestrator"
    assert json.loads(server.log.splitlines()[1])["caller"] == "ci"
    assert secret not in server.log
    assert not any(secret in str(row) for row in home.rows("SELECT * FROM contracts"))


def test_only_a_bound_token_speaks_for_its_agent(home: Home) -> None:
    bob, other = token(home, "bob's", "--agent", "bob"), token(home, "other")
    with serving(home) as server:

        def ask(secret: str, **more: Any) -> httpx.Response:
            return server.post("/v1/orchestrate", json={**TASK, **more}, headers=bearer(secret))

        def asker(response: httpx.Response) -> str:
            found = home.rows("SELECT from_agent FROM contracts WHERE contract_id = ?", response.json()["contract_id"])
            return str(found[0][0])

        assert asker(ask(bob)) == asker(ask(bob, from_agent="bob")) == "bob"
        assert asker(ask(other)) == "orchestrator"
        assert asker(ask(other, from_agent="eve")) == "eve"
        refused(ask(bob, from_agent="eve"), 403, "forbidden")
        refused(ask(other, from_agent="bob"), 403, "forbidden")


def test_nobody_speaks_for_a_bound_agent_by_naming_a_request_that_was_made_to_it(home: Home) -> None:
    bound, other = token(home, "example's", "--agent", "agent_example_001"), token(home, "other")
    with serving(home) as server:
        parent = server.post("/v1/orchestrate", json=TASK, headers=bearer(other)).json()["contract_id"]
        task = {**TASK, "parameters": {"text": "below"}, "parent_id": parent}
        refused(server.post("/v1/orchestrate", json=task, headers=bearer(other)), 403, "forbidden")
        named = {**task, "from_agent": "eve"}
        refused(server.post("/v1/orchestrate", json=named, headers=bearer(other)), 403, "forbidden")
        assert server.post("/v1/orchestrate", json=task, headers=bearer(bound)).status_code == 200


FILE = """# who may call
0123456789abcdef                                # reads and runs
Zm9vYmFyYmF6cXV4LS0tLS0=  read  name=dashboard

ffffffffffffffff  admin  agent=bob
"""


def test_a_token_file_lets_in_whom_it_names(home: Home, wait_for: WaitFor) -> None:
    home.write("tokens", FILE).chmod(0o600)
    with serving(home, "--token-file", "tokens", "--workers", "2") as server:
        assert "callers need a token" in server.log
        wait_for(lambda: listens(server))
        assert server.get("/v1/agents").status_code == 401
        assert server.get("/v1/agents", headers=bearer("Zm9vYmFyYmF6cXV4LS0tLS0=")).status_code == 200
        refused(server.post("/v1/orchestrate", json=TASK, headers=bearer("Zm9vYmFyYmF6cXV4LS0tLS0=")), 403, "forbidden")
        for secret in ("0123456789abcdef", "ffffffffffffffff"):
            assert server.post("/v1/orchestrate", json=TASK, headers=bearer(secret)).status_code == 200
    asked = home.rows("SELECT from_agent, metadata ->> 'caller' FROM contracts WHERE request_id IS NULL")
    assert sorted(asked) == [
        ("bob", '{"id":"file:line 5","name":"line 5"}'),
        ("orchestrator", '{"id":"file:line 2","name":"line 2"}'),
    ]


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (FILE, 0o644, "other users can read or change the token file"),
        (FILE, 0o620, "other users can read or change the token file"),
        ("# nobody\n", 0o600, "contains no token"),
        ("\nshort\n", 0o600, "line 2: invalid token"),
        (f"{'x' * 20} read,everything", 0o600, "line 1: unknown scope: everything"),
        (f"{'x' * 20} owner=me", 0o600, "unknown key 'owner'"),
        (f"{'x' * 20}\n{'x' * 20}", 0o600, "line 2: an earlier line has the same token or the same name"),
        (None, 0o600, "cannot read the token file"),
    ],
)
def test_a_token_file_that_cannot_be_trusted_is_refused(
    tmp_path: Path, content: str | None, mode: int, reason: str
) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    config = Config(ledger=tmp_path / "ledger.db", serve=ServeConfig(token_file=str(file)))
    with pytest.raises(ConfigInvalid) as refusal:
        Authenticator(config, "127.0.0.1")
    assert reason in str(refusal.value)
    assert str(file) in str(refusal.value)
    assert "xxxx" not in str(refusal.value)
    assert "short" not in str(refusal.value)


def test_a_token_file_of_everybodys_ends_the_start(home: Home) -> None:
    home.write("tokens", FILE).chmod(0o644)
    done = home.aorch("serve", "--port", "0", "--token-file", "tokens")
    assert done.code == 2
    assert f"chmod 600 {home.folder}/tokens" in done.err


# Addresses


@pytest.mark.torture
def test_another_address_than_loopback_wants_a_token_or_an_explicit_word(home: Home) -> None:
    for workers in ("1", "2"):
        done = home.aorch("serve", "--host", "0.0.0.0", "--port", "0", "--workers", workers)
        assert done.code == 2
        assert "other machines can reach 0.0.0.0" in done.err
        assert "--insecure" in done.err
    with serving(home, "--host", "0.0.0.0", "--insecure") as server:
        assert server.get("/v1/agents", headers={"Host": "aorch.example"}).status_code == 200
    secret = token(home, "ci")
    with serving(home, "--host", "0.0.0.0") as server:
        assert server.get("/v1/agents").status_code == 401
        assert server.get("/v1/agents", headers=bearer(secret)).status_code == 200
        home.aorch("tokens", "revoke", "ci")
    assert home.aorch("serve", "--host", "0.0.0.0", "--port", "0").code == 2


def test_on_loopback_only_this_machines_names_and_pages_of_its_own_may_call(home: Home) -> None:
    with serving(home) as server:
        own = server.url.removeprefix("http://")
        for host in (own, "localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8888", "127.0.0.2"):
            assert server.get("/v1/agents", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.", "10.0.0.1", "[::2]", "", "a@localhost"):
            refused(server.get("/v1/agents", headers={"Host": host}), 421, "misdirected")
        assert server.get("/v1/agents", headers={"Origin": server.url}).status_code == 200
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "", f"{server.url}.evil.example"):
            refused(server.get("/v1/agents", headers={"Origin": origin}), 403, "origin_refused")
            refused(server.post("/v1/orchestrate", json=TASK, headers={"Origin": origin}), 403, "origin_refused")
    assert not home.rows("SELECT 1 FROM contracts")


def test_a_browser_is_told_nothing_of_cors_unless_it_is_configured(home: Home) -> None:
    ask = {"Origin": "https://ui.example", "Access-Control-Request-Method": "POST"}
    with serving(home) as server:
        refused(server.client.options("/v1/orchestrate", headers=ask), 403, "origin_refused")
        own = server.client.options("/v1/orchestrate", headers={**ask, "Origin": server.url})
        refused(own, 405, "method_not_allowed")
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
        assert refused(readable, 401, "not_authorised")  # which the page may read
        assert readable.headers["Access-Control-Allow-Origin"] == "https://ui.example"
        assert "X-Request-ID" in readable.headers["Access-Control-Expose-Headers"]
        plain = server.get("/v1/health")
        assert plain.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Origin" not in plain.headers
        refused(server.get("/v1/health", headers={"Origin": "https://evil.example"}), 403, "origin_refused")


@pytest.mark.parametrize("origin", ["*", "ui.example", "https://ui.example/path", "null", "https://*.example"])
def test_an_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(ConfigInvalid, match="invalid origin"):
        OriginPolicy(ServeConfig(cors_origins=[origin]), "127.0.0.1")


# Limits


def test_each_token_has_a_rate_of_its_own(home: Home) -> None:
    home.write("aorch.toml", "[serve]\nrate_per_s = 0.3")
    one, other = token(home, "one"), token(home, "other")
    with serving(home) as server:
        for secret in (one, other):
            answers = [server.get("/v1/agents", headers=bearer(secret)) for _ in range(5)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
            refused(answers[-1], 429, "too_many")
            assert 1 <= int(answers[-1].headers["Retry-After"]) <= 4
        assert [server.get("/v1/").status_code for _ in range(4)] == [200, 200, 200, 429]  # by address


def test_a_rate_limit_remembers_only_so_many_callers() -> None:
    limit = RateLimit(0.1)
    limit.take("first")
    for number in range(MAX_CALLERS - 1):
        limit.take(f"caller {number}")
    with pytest.raises(HttpError):
        limit.take("first")
    for number in range(3 * MAX_CALLERS):
        limit.take(f"another {number}")
    assert len(limit._full_at) + len(limit._older) <= 2 * MAX_CALLERS  # what it holds is the promise


def test_more_requests_than_the_limit_are_turned_away_at_once(home: Home, wait_for: WaitFor) -> None:
    home.write(
        "aorch.toml",
        "[serve]\nmax_concurrent = 2\n[agents.slow]\ncommand = ['sleep', '60']\n[agents.slow.capabilities.wait]\n",
    )
    with serving(home, "--grace", "0") as server:
        task = json.dumps({"capability": "wait", "session_id": "s"})
        waiting = [raw(server, post(task)) for _ in range(2)]
        full = wait_for(lambda: (got := server.get("/v1/agents")).is_error and got)
        refused(full, 503, "overloaded")
        assert int(full.headers["Retry-After"]) >= 1
        for connection in waiting:
            connection.close()


def test_a_body_that_is_too_large_is_refused_before_it_is_read(home: Home) -> None:
    home.write("aorch.toml", "[serve]\nmax_body_bytes = 1000\nmax_json_depth = 5")
    with serving(home) as server:
        endless = f"POST /v1/orchestrate HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
        with raw(server, f"{endless}Content-Length: 1000000000\r\n\r\n" + "x" * 2000) as connection:
            assert answer(connection)[0] == 413
        with raw(server, f"{endless}Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + "x" * 2000) as connection:
            assert answer(connection)[0] == 413
        headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
        bomb = gzip.compress(b" " * 50_000_000)
        refused(server.post("/v1/orchestrate", content=bomb, headers=headers), 413, "too_large")
        small = gzip.compress(json.dumps(TASK).encode())
        assert server.post("/v1/orchestrate", content=small, headers=headers).status_code == 200
        deep = {**TASK, "parameters": {"text": [[[[[[]]]]]]}}
        refused(server.post("/v1/orchestrate", json=deep), 400, "invalid_json")
        deeper = b'{"capability":"echo","parameters":' + b"[" * 900
        refused(server.post("/v1/orchestrate", content=deeper, headers={"Content-Type": JSON}), 400, "invalid_json")


JSON = "application/json"


def post(body: str, *headers: str, length: int | None = None) -> str:
    lines = [
        "POST /v1/orchestrate HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {JSON}",
        f"Content-Length: {len(body.encode()) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def raw(server: Server, *parts: str | bytes) -> socket.socket:
    """A connection over which `parts` were sent."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), START_S)
    for part in parts:
        connection.sendall(part.encode() if isinstance(part, str) else part)
    return connection


def answer(connection: socket.socket) -> tuple[int, Any]:
    """The status and the JSON of the next answer, or of the last before the server closes."""
    received = b""
    while not (head := received.partition(b"\r\n\r\n"))[1] or len(head[2]) < length(head[0]):
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    assert b"application/problem+json" in head[0] or b" 200 " in head[0], received
    assert b"X-Request-ID: " in head[0]
    return int(received.split()[1]), json.loads(head[2])


def length(head: bytes) -> int:
    found = re.search(rb"(?i)content-length: (\d+)", head)
    assert found, head
    return int(found[1])


def listens(server: Server) -> bool:
    """Whether one of its workers has come so far."""
    with contextlib.suppress(ConnectionError):
        raw(server).close()
        return True
    return False


def closed(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


NOT_HTTP: list[tuple[str | bytes, int]] = [
    ("hello\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("GET /v1/health HTTP/1.1\r\n\r\n", 400),
    ("GET /v1/health HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n", 400),
    ("GET /v1/health HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (f"GET /{'x' * 9000} HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    (f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {'x' * 9000}\r\n\r\n", 431),
    (f"GET / HTTP/1.1\r\nHost: localhost\r\n{'x' * 9000}: 1\r\n\r\n", 431),
    ("GET / HTTP/1.1\r\nHost: localhost\r\n" + "a: 1\r\n" * 200 + "\r\n", 400),
]
MISTAKEN = [
    (post(json.dumps(TASK), "Content-Encoding: gzip"), 400),
    (post("", "Expect: miracles"), 417),
    (post("zz\r\n{}\r\n0\r\n\r\n").replace("Content-Length: 14", "Transfer-Encoding: chunked"), 400),
]


def test_a_body_that_is_not_read_to_its_end_ends_the_connection_which_the_answer_says(home: Home) -> None:
    whole = "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(home) as server:
        with raw(server, post("{", length=10**9)) as connection, connection.makefile("rb") as answered:
            head = list(iter(answered.readline, b"\r\n"))
            assert head[0] == b"HTTP/1.1 413 Request Entity Too Large\r\n"
            assert b"Connection: close\r\n" in head
        with raw(server, whole) as connection:
            assert answer(connection)[0] == 200
    assert "Traceback" not in server.log


def test_what_is_not_http_or_too_much_of_it_gets_a_problem_and_the_end(home: Home) -> None:
    with serving(home) as server:
        for request, status in NOT_HTTP:
            with raw(server, request) as connection:
                got, body = answer(connection)
                assert got == body["status"] == status, request[:80]
                assert "xxxxx" not in body["detail"]
                assert closed(connection)
        for request, status in MISTAKEN:
            with raw(server, request) as connection:
                assert answer(connection)[0] == status, request
    assert "Traceback" not in server.log


def test_a_client_that_dawdles_is_told_so_and_cut_off(home: Home) -> None:
    home.write("aorch.toml", "[serve]\nread_timeout_s = 0.5")
    whole = "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(home) as server:
        begun = time.monotonic()
        header = raw(server, "GET /v1/health HT")
        second = raw(server, whole)
        assert answer(second)[0] == 200
        second.sendall(whole[:20].encode())
        body = raw(server, post("{", length=100))
        for connection in (header, second, body):
            status, said = answer(connection)
            assert (status, said["code"]) == (408, "too_slow")
        assert 0.4 < time.monotonic() - begun < WAIT_S
        for connection in (header, second):
            assert closed(connection)
            connection.close()
        body.close()
        with raw(server, whole[:20], whole[20:]) as patient:
            assert answer(patient)[0] == 200
    assert "Traceback" not in server.log


def test_a_caller_that_goes_away_in_the_middle_of_its_body_leaves_no_trace(home: Home) -> None:
    with serving(home) as server:
        raw(server, post("{", length=100)).close()
        assert server.get("/v1/health").status_code == 200
    assert "Traceback" not in server.log


async def test_a_connection_that_is_idle_or_takes_nothing_of_its_answer_ends() -> None:
    from aiohttp import web

    from aorch.server.access_log import RequestLog
    from aorch.server.connection_limit import ConnectionLimit
    from aorch.server.http_protocol import Connection

    async def much(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 1_000_000)
        except ConnectionError:
            ended.set()
            raise

    ended = asyncio.Event()
    app = web.Application()
    app.router.add_get("/", much)
    runner = web.AppRunner(app)
    await runner.setup()
    manager, log, limit = runner.server, RequestLog(as_json=False), ConnectionLimit(5, str)
    assert manager is not None
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: Connection(manager, app._handle, log, 5, limit, UnsentResponses(), idle_s=0.1, stuck_s=0.1),
        "127.0.0.1",
        0,
    )
    port = listener.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(WAIT_S):
        assert await reader.read() == b""
    writer.close()
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            await ended.wait()
    listener.close()
    await runner.cleanup()
    log.flush()


def test_a_client_that_reads_no_answer_gets_no_more_of_them(home: Home, wait_for: WaitFor) -> None:
    """What it has sent waits on its own side: the server neither reads nor answers it before it takes what is there."""
    with serving(home) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((server.client.base_url.host, server.client.base_url.port))
        connection.setblocking(False)
        pipelined = b"GET /v1/agents HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100

        def is_held_up() -> bool:
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.send(pipelined)
            before = server.log.count("GET /v1/agents")
            server.get("/v1/health", headers={"X-Request-ID": f"probe-{before}"})
            wait_for(lambda: f"request_id=probe-{before}" in server.log)
            return before > 0 and server.log.count("GET /v1/agents") == before

        wait_for(is_held_up)


# Whatever comes

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
_hostile = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def sound(response: httpx.Response, *, below: int = 500) -> None:
    """`response` is an answer or a problem, and says nothing of the program's inside."""
    assert response.status_code < below, response.text
    wanted = "application/problem+json" if response.is_error else "application/json"
    assert response.headers["Content-Type"] == wanted
    assert response.is_error is ("code" in response.json())
    assert "Traceback" not in response.text
    assert ".py" not in response.text


def test_no_body_makes_the_server_fail(home: Home) -> None:
    with serving(home) as server:

        @_hostile
        @given(_bodies)
        def try_(body: bytes) -> None:
            sound(server.post("/v1/orchestrate", content=body, headers={"Content-Type": JSON}))

        try_()
    assert "Traceback" not in server.log


def test_no_path_query_or_header_makes_the_server_fail(home: Home) -> None:
    odd = st.binary(max_size=12).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw)) | st.text(
        alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#\\"), max_size=12
    )
    paths = st.sampled_from(["/v1/agents/", "/v1/contracts/", "/v1/contracts?text=", "/v1/contracts?since=", "/v1/"])
    more = st.sampled_from(["/v1/sessions?cursor=", "/v1/contracts?session_id=", "/v1/contracts?limit=", "/"])
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

"""Tokens: created and revoked, in a token file, and what a server without or with them accepts."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from api import problem
from homes import Home
from ledger_state import change, stored_bytes
from serving import accepts_connections, serving
from tokens import bearer, token
from waiting import wait_for

from aorch.config.settings import Config, ServeConfig
from aorch.errors import ConfigInvalid
from aorch.server.authentication import Authenticator

TASK = {"capability": "echo", "parameters": {"text": "hi"}, "session_id": "s"}


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
    assert secret.removeprefix("aorch_").encode() not in stored_bytes(home.ledger)


def test_a_token_has_the_scopes_read_and_run_by_default_and_json_shows_all_its_fields(home: Home) -> None:
    made = home.aorch("tokens", "create", "ci", "--json").json
    assert made["scopes"] == ["read", "run"]
    assert made["token"].startswith("aorch_")
    assert made["expires_at"] is None


NO_TOKENS = [
    (("create", "taken"), 13, "token 'taken' already exists"),
    (("create", "x", "--expires", "soon"), 2, "--expires 'soon' is neither a time nor a delay"),
    (("create", "x", "--expires", "2020-01-01"), 2, "must be in the future"),
    (("create", "x", "--expires", "99999999999w"), 2, "is neither a time nor a delay"),
    (("create", "x\ny"), 2, "invalid token name"),
    (("create", "x", "--agent", "orchestrator"), 2, "cannot be bound"),
    (("create", "x", "--scope", "everything"), 2, "everything"),
    (("revoke", "nobody"), 12, "token 'nobody' not found"),
]


def test_invalid_options_create_no_token(home: Home) -> None:
    token(home, "taken")
    for arguments, code, reason in NO_TOKENS:
        done = home.aorch("tokens", *arguments)
        assert (done.code, done.out) == (code, ""), arguments
        assert reason in done.err
    assert len(home.rows("SELECT * FROM tokens")) == 1


def test_a_token_is_revoked_by_id_or_name_or_by_the_leaked_token_itself(home: Home) -> None:
    first, second, third = (home.aorch("tokens", "create", name, "--json").json for name in "abc")
    assert home.aorch("tokens", "revoke", first["token_id"].lower()).code == 0
    assert home.aorch("tokens", "revoke", "b").code == 0
    assert third["token"] not in home.aorch("tokens", "revoke", third["token"]).out
    states = [row["state"] for row in home.aorch("tokens", "list", "--json").json["tokens"]]
    assert states == ["revoked"] * 3
    assert home.aorch("tokens", "create", "b").code == 0  # the name is free again
    unknown = home.aorch("tokens", "revoke", second["token"][:-1] + "=")
    assert second["token"][:-1] not in unknown.err


# Tokens, shown to a server


def test_loopback_is_open_until_the_first_token_and_stays_closed_afterwards(home: Home) -> None:
    with serving(home) as server:
        assert server.post("/v1/orchestrate", json=TASK).status_code == 200
        secret = token(home, "ci")
        wait_for(lambda: server.get("/v1/agents").status_code == 401)
        missing = server.get("/v1/agents")
        assert "Authorization: Bearer" in problem(missing, 401, "not_authorised")["hint"]
        assert missing.headers["WWW-Authenticate"] == "Bearer"
        assert server.get("/v1/agents", headers=bearer(secret)).status_code == 200
        assert server.get("/v1/agents", headers={"Authorization": f"bEARER  {secret}"}).status_code == 200
        for wrong in (f"Basic {secret}", secret, "Bearer", f"Bearer {secret}x", "Bearer \u00e4\u00f6"):
            headers = {"Authorization": wrong.encode()}
            assert server.get("/v1/agents", headers=headers).status_code == 401, wrong  # type: ignore[arg-type]
        home.aorch("tokens", "revoke", "ci")
        answer = wait_for(lambda: (got := server.get("/v1/agents", headers=bearer(secret))).is_error and got)
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert server.get("/v1/agents").status_code == 401
        assert server.get("/v1/health").status_code == 200


def test_a_token_ends_when_it_expires(home: Home) -> None:
    secret = token(home, "brief", "--expires", "1h")
    with serving(home) as server:
        assert server.get("/v1/agents", headers=bearer(secret)).status_code == 200
        change(home.ledger, "UPDATE tokens SET expires_at = '2020-01-01T00:00:00.000Z'")  # an hour is long
        expired = wait_for(lambda: (got := server.get("/v1/agents", headers=bearer(secret))).is_error and got)
        assert problem(expired, 401, "not_authorised")["detail"] == "the token has expired"
        assert server.get("/v1/agents").status_code == 401
    assert home.aorch("tokens", "list").out.endswith("\texpired\n")


def test_each_route_needs_its_scope(home: Home) -> None:
    from aorch.server.route_table import ROUTES

    held = {scope: token(home, scope, "--scope", scope) for scope in ("read", "run", "work", "agents", "admin")}
    with serving(home) as server:
        for route in ROUTES:
            path = re.sub("{.*?}", "x", route.path)
            for scope, secret in held.items():
                with server.client.stream(route.method, path, headers=bearer(secret)) as response:
                    allowed = route.scope in ("none", scope) or scope == "admin"
                    assert (response.status_code in (401, 403)) is not allowed, (path, scope)
            with server.client.stream(route.method, path) as response:
                assert (response.status_code == 401) is (route.scope != "none"), path
        lacking = server.get("/v1/agents", headers=bearer(held["run"]))
        assert problem(lacking, 403, "forbidden")["detail"] == "the token lacks the scope 'read'"
        assert lacking.json()["hint"] == "Send a token that has the scope 'read'."
        assert 'scope="read"' in lacking.headers["WWW-Authenticate"]


def test_the_contract_names_the_caller_and_contains_no_token(home: Home) -> None:
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


def test_only_a_bound_token_can_send_as_its_agent(home: Home) -> None:
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
        problem(ask(bob, from_agent="eve"), 403, "forbidden")
        problem(ask(other, from_agent="bob"), 403, "forbidden")


def test_naming_a_request_of_a_bound_agent_as_parent_needs_its_token(home: Home) -> None:
    bound, other = token(home, "example's", "--agent", "agent_example_001"), token(home, "other")
    with serving(home) as server:
        parent = server.post("/v1/orchestrate", json=TASK, headers=bearer(other)).json()["contract_id"]
        task = {**TASK, "parameters": {"text": "below"}, "parent_id": parent}
        problem(server.post("/v1/orchestrate", json=task, headers=bearer(other)), 403, "forbidden")
        named = {**task, "from_agent": "eve"}
        problem(server.post("/v1/orchestrate", json=named, headers=bearer(other)), 403, "forbidden")
        assert server.post("/v1/orchestrate", json=task, headers=bearer(bound)).status_code == 200


FILE = """# who may call
0123456789abcdef                                # reads and runs
Zm9vYmFyYmF6cXV4LS0tLS0=  read  name=dashboard

ffffffffffffffff  admin  agent=bob
"""


def test_the_tokens_of_a_token_file_are_accepted(home: Home) -> None:
    home.write("tokens", FILE).chmod(0o600)
    with serving(home, "--token-file", "tokens", "--workers", "2") as server:
        assert "callers need a token" in server.log
        wait_for(lambda: accepts_connections(server))
        assert server.get("/v1/agents").status_code == 401
        assert server.get("/v1/agents", headers=bearer("Zm9vYmFyYmF6cXV4LS0tLS0=")).status_code == 200
        problem(server.post("/v1/orchestrate", json=TASK, headers=bearer("Zm9vYmFyYmF6cXV4LS0tLS0=")), 403, "forbidden")
        for secret in ("0123456789abcdef", "ffffffffffffffff"):
            assert server.post("/v1/orchestrate", json=TASK, headers=bearer(secret)).status_code == 200
    asked = home.rows("SELECT from_agent, metadata FROM contracts WHERE request_id IS NULL ORDER BY from_agent")
    assert [(from_agent, json.loads(metadata)["caller"]) for from_agent, metadata in asked] == [
        ("bob", {"id": "file:line 5", "name": "line 5"}),
        ("orchestrator", {"id": "file:line 2", "name": "line 2"}),
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
def test_an_invalid_or_unprotected_token_file_is_rejected(
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


def test_a_token_file_that_others_can_read_prevents_the_start(home: Home) -> None:
    home.write("tokens", FILE).chmod(0o644)
    done = home.aorch("serve", "--port", "0", "--token-file", "tokens")
    assert done.code == 2
    assert f"chmod 600 {home.folder}/tokens" in done.err


# Addresses


@pytest.mark.torture
def test_an_address_other_than_loopback_needs_a_token_or_insecure(home: Home) -> None:
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

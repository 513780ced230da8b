"""GET /v1/stats: figures of exchanges by capability, agent, session, caller, error and period."""

import pytest
import shared
from api import ask
from homes import Home
from serving import Server, serving
from tokens import new_bearer

from aorch.govern.statistics import BY, FIELDS

home, server = shared.home, shared.server


@pytest.mark.parametrize("by", BY)
def test_each_property_has_groups_with_the_same_fields(server: Server, by: str) -> None:
    session = f"every property {by}"
    ask(server, session=session)
    ask(server, "fail", session=session)
    found = server.get("/v1/stats", params={"by": by, "session_id": session}).json()
    assert found["by"] == by
    assert (found["total"]["count"], found["total"]["failed"]) == ((1, 1) if by == "error" else (2, 1))
    assert sum(group["count"] for group in found["groups"]) == found["total"]["count"]
    for group in (*found["groups"], found["total"]):
        assert tuple(group) == FIELDS


def test_a_rejected_post_counts_and_has_no_duration(server: Server) -> None:
    assert ask(server, "no such capability", session="rejected").status_code == 404
    ask(server, session="rejected")
    (group,) = server.get("/v1/stats?session_id=rejected&capability=no+such+capability").json()["groups"]
    assert (group["count"], group["rejected"], group["failed"], group["p50_ms"]) == (1, 1, 1, None)
    assert group["last_error"] == "No agent available for capability: no such capability"
    (both,) = server.get("/v1/stats?session_id=rejected&by=session").json()["groups"]
    assert (both["count"], both["completed"], both["rejected"]) == (2, 1, 1)


@pytest.mark.parametrize("query", ["by=colour", "since=yesterday", "limit=0", "limit=10001", "sesion_id=x"])
def test_an_invalid_query_is_rejected(server: Server, query: str) -> None:
    assert server.get(f"/v1/stats?{query}").status_code == 422


def test_cost_follows_the_prices_of_the_configuration_and_a_token_needs_the_scope_read(own_home: Home) -> None:
    own_home.write("aorch.toml", '[prices."m*"]\ninput = 2\noutput = 10\n')
    bearers = {scope: new_bearer(own_home, scope, "--scope", scope) for scope in ("read", "agents")}
    with serving(own_home) as server:
        assert server.get("/v1/stats", headers=bearers["agents"]).status_code == 403
        found = server.get("/v1/stats", headers=bearers["read"]).json()
        assert (found["groups"], found["total"]["cost"]) == ([], None)

"""A home whose ledger has something for every view of the live page, and the addresses of these views."""

from typing import Any
from urllib.parse import quote

from api import CONFIG, ask
from homes import Home
from serving import Server

HOSTILE = (
    """<img src=x onerror=alert(1)><script>alert(2)</script>'"`${alert(3)}{{alert(4)}}&lt;b&gt; javascript:alert(5)"""
)
PIPELINE = """
[agents."<img src=x onerror=alert(6)>"]
command = ["cat"]
capabilities."<i>cat</i>".description = "<script>alert(7)</script>"

[pipelines.report]
[[pipelines.report.steps]]
name = "clean"
capability = "uppercase"
for_each = "{input.texts}"
parameters = { text = "{item}" }
"""
SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 360, "height": 740}}


def with_pipeline(home: Home) -> Home:
    """Add agents, one of them with a hostile name, and a pipeline to `home`."""
    home.write("aorch.toml", CONFIG + PIPELINE)
    return home


def fill(server: Server) -> dict[str, str]:
    """Write sessions, failures, delegation, memory and queued tasks. Returns the address of each view, by its name."""
    done = ask(server, session="work", parameters={"text": "a first text"}).json()["contract_id"]
    failed = ask(server, "fail", session="work", parameters={"table": "orders"}).json()["contract_id"]
    report = ask(server, "report", session="work", parameters={"texts": ["one", "two", "three"]}).json()["contract_id"]
    ask(server, "<i>cat</i>", session=HOSTILE, parameters={"text": HOSTILE}, from_agent=HOSTILE)
    ask(server, HOSTILE, session=HOSTILE)
    erased = ask(server, session="erased", parameters={"text": "nobody shall read this"}).json()["contract_id"]
    reason = {"reason": "<b>a leaked key</b>"}
    server.client.request("DELETE", f"/v1/contracts/{erased}/content", json=reason).raise_for_status()
    for priority in (1, 3, 3):
        later: dict[str, Any] = {"capability": "echo", "session_id": "later", "parameters": {"text": HOSTILE}}
        server.post("/v1/tasks", json={**later, "priority": priority, "not_before": "2999-01-01T09:00:00Z"})
    for session in ("work", HOSTILE):
        server.post("/v1/compress", json={"session_id": session})
    work, hostile = quote("work"), quote(HOSTILE, safe="")
    return {
        "live": "#/live",
        "live, nothing found": "#/live?session=no+such+session",
        "sessions": "#/sessions",
        "session": f"#/sessions/{work}",
        "session as a tree": f"#/sessions/{work}?view=tree",
        "session as a table": f"#/sessions/{work}?view=table",
        "memory of a session": f"#/sessions/{work}?view=memory",
        "hostile session": f"#/sessions/{hostile}",
        "hostile session as a tree": f"#/sessions/{hostile}?view=tree",
        "memory of a hostile session": f"#/sessions/{hostile}?view=memory",
        "unknown session": "#/sessions/no-such-session",
        "exchange": f"#/exchanges/{done}",
        "failed exchange": f"#/exchanges/{failed}",
        "exchange with delegated tasks": f"#/exchanges/{report}",
        "erased exchange": f"#/exchanges/{erased}",
        "unknown exchange": "#/exchanges/01KFV70HW9ZZZZZZZZZZZZZZZZ",
        "agents": "#/agents",
        "unknown agent": "#/agents?agent=nobody",
        "queue": "#/queue",
        "memory": "#/memory",
        "claims": "#/memory?text=first",
        "search": "#/search",
        "found": "#/search?text=text",
        "nothing found": "#/search?text=nowhere",
        "charts": "#/charts",
        "charts as a table": "#/charts?view=table",
    }

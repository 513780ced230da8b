"""How `aorch run` shows a person the failure of an agent: which agent, at what, and in whole words."""

import pytest
from homes import Home
from terminal import at_terminal, plain

FAILING = """
[agents.site]
command = ["sh", "-c", "echo {said} >&2; exit 3"]
[agents.site.capabilities.fetch]
[agents.site.capabilities.site]
"""


@pytest.mark.parametrize(
    ("capability", "said", "shown"),
    [
        ("fetch", "oops", "fetch (agent site): exit code 3: oops"),
        ("fetch", "cannot fetch it", "site: exit code 3: cannot fetch it"),
        ("fetch", "the site is down", "fetch: exit code 3: the site is down"),
        ("fetch", "site: fetch failed", "exit code 3: site: fetch failed"),
        ("fetch", "prefetching of websites", "fetch (agent site): exit code 3: prefetching of websites"),
        ("site", "oops", "site: exit code 3: oops"),
    ],
)
def test_a_failed_agent_and_its_capability_are_named_once(home: Home, capability: str, said: str, shown: str) -> None:
    home.write("aorch.toml", FAILING)
    failed = home.aorch("run", capability, f"said={said}", "--session", "s")
    assert (failed.code, failed.err) == (10, f"error: {shown}\n")
    [(contract_id, recorded)] = home.rows("SELECT request_id, error FROM contracts WHERE error IS NOT NULL")
    assert recorded == f"exit code 3: {said}"
    assert home.aorch("contracts", "wait", contract_id).err == f"error: {shown}\n"
    as_json = home.aorch("run", capability, f"said={said}", "--json")
    assert as_json.json["error"] == recorded


def test_an_error_at_a_narrow_terminal_is_wrapped_at_spaces(home: Home) -> None:
    home.write("aorch.toml", FAILING)
    said = "the-name-of-a-file-that-is-longer-than-the-line/of/the/terminal was not found there or elsewhere"
    lines = plain(at_terminal(home, "run", "fetch", f"said={said}", columns=40, code=10)).splitlines()
    shown = " ".join(line.strip() for line in lines)
    assert f"error: fetch (agent site): exit code 3: {said} site · " in shown
    assert all(len(line) <= 40 or " " not in line.strip() for line in lines), lines

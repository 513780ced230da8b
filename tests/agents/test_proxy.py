"""Agents behind an HTTP proxy: `proxy` is the same key for endpoints, models and MCP servers."""

import pytest
from doubles import running
from endpoint_program import endpoint
from homes import Home
from model_agents import model_agent
from model_double import ModelDouble
from proxies import proxy_to


def test_an_endpoint_is_checked_and_called_through_its_proxy(home: Home) -> None:
    with endpoint() as server, proxy_to(server.url) as proxy:
        url = "http://agents.example/good"
        added = home.aorch("agents", "add", "worker", "--url", url, "--proxy", proxy.url)
        assert added.code == 0, added.err
        assert f'proxy = "{proxy.url}"' in (home.folder / "aorch.toml").read_text()
        assert home.aorch("run", "work", "text=hi").code == 0
    assert [each.rpartition("/")[2] for each in proxy.asked] == ["capabilities", "health", "execute"]
    assert proxy.asked[2] == f"{url}/execute"


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_model_is_asked_through_its_proxy(home: Home, api: str) -> None:
    with running(ModelDouble()) as double, proxy_to(double.url) as proxy:
        model_agent(home, "http://models.example/v1" if api == "openai" else "http://models.example", api)
        config = (home.folder / "aorch.toml").read_text()
        home.write("aorch.toml", config.replace("llm =", f'proxy = "{proxy.url}"\nllm =', 1))
        done = home.aorch("run", "summarize", "text=hi")
    assert done.code == 0, done.err
    assert [each.startswith("http://models.example/v1/") for each in proxy.asked] == [True]


def test_an_mcp_server_is_called_through_its_proxy(home: Home) -> None:
    from mcp_http import tools_over_http  # importing the SDK takes 0.7 s

    with tools_over_http() as tools, proxy_to(tools.url) as proxy:
        home.write("aorch.toml", f'[agents.tools]\nmcp = "http://tools.example/mcp"\nproxy = "{proxy.url}"\n')
        done = home.aorch("run", "tools.add", "a:=1", "b:=2")
    assert (done.code, done.json) == (0, {"sum": 3}), done.err
    assert set(proxy.asked) == {"http://tools.example/mcp"}


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ('url = "http://a"\nproxy = "socks5://b"', "agents.a.proxy is not a valid URL"),
        ('url = "http://a"\nproxy = "http://user:secret@b"', "agents.a.proxy must not contain a user"),
        ('mcp = ["cat"]\nproxy = "http://b"', "agents.a.proxy is for a server that is a URL"),
        ('command = ["cat"]\nproxy = "http://b"', "agents.a.proxy: a program (`command`) does not have this key"),
    ],
)
def test_an_invalid_proxy_is_rejected_with_the_reason(home: Home, table: str, reason: str) -> None:
    home.write("aorch.toml", f"[agents.a]\n{table}\n")
    failed = home.aorch("agents", "list")
    assert (failed.code, reason in failed.err, "secret" in failed.err) == (2, True, False)

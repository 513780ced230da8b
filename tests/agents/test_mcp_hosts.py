"""`aorch agents add --mcp-config` takes over the servers of another host, without the secrets in its file."""

import tomllib

import pytest
from homes import Home

CLAUDE = """{"mcpServers": {
  "github": {"command": "npx", "args": ["-y", "server-github"], "env": {"GITHUB_TOKEN": "ghp_literal", "LEVEL": "$5"}},
  "docs": {"type": "http", "url": "https://docs.example/mcp", "headers": {"Authorization": "Bearer abc"}},
  "wiki": {"url": "${WIKI_URL:-https://wiki.example}/mcp", "headers": {"X-Api-Key": "${WIKI_KEY}", "X-Team": "a"}}
}}"""
VS_CODE = """{
  // the servers of this project
  "inputs": [{"id": "api-key", "type": "promptString"}],
  "servers": {
    "local": {"type": "stdio", "command": "${workspaceFolder}/server", "args": ["--url", "http://a//b"],
              "env": {"KEY": "${input:api-key}", "HOME_OF": "${env:HOME}"}},
  },
}"""


def added(home: Home) -> dict[str, object]:
    """The tables that the configuration has now, without the servers' tools, which do not exist."""
    agents: dict[str, object] = tomllib.loads((home.folder / "aorch.toml").read_text())["agents"]
    return agents


def test_the_servers_of_claude_code_are_added_and_their_secrets_become_variables(home: Home) -> None:
    home.write(".mcp.json", CLAUDE)
    done = home.aorch("agents", "add", "--mcp-config", ".mcp.json", "--timeout", "9")
    assert done.code == 0
    assert added(home) == {
        "github": {
            "mcp": ["npx", "-y", "server-github"],
            "env": {"GITHUB_TOKEN": "$GITHUB_TOKEN", "LEVEL": "$$5"},
            "timeout_s": 9.0,
        },
        "docs": {
            "mcp": "https://docs.example/mcp",
            "headers": {"Authorization": "Bearer $DOCS_TOKEN"},
            "timeout_s": 9.0,
        },
        "wiki": {
            "mcp": "https://wiki.example/mcp",
            "headers": {"X-Api-Key": "${WIKI_KEY}", "X-Team": "a"},
            "timeout_s": 9.0,
        },
    }
    assert "github cannot run tasks yet: its env refers to GITHUB_TOKEN, which is not set" in done.err
    assert "docs cannot run tasks yet: its headers refer to DOCS_TOKEN, which is not set" in done.err


def test_one_server_of_a_project_of_vs_code_is_added_with_its_directory(home: Home) -> None:
    project = home.folder / "project" / ".vscode"
    project.mkdir(parents=True)
    (project / "mcp.json").write_text(VS_CODE)
    assert home.aorch("agents", "add", "local", "--mcp-config", str(project / "mcp.json")).code == 0
    assert added(home)["local"] == {
        "mcp": [f"{project.parent}/server", "--url", "http://a//b"],
        "cwd": str(project.parent),
        "env": {"KEY": "${API_KEY}", "HOME_OF": "${HOME}"},
    }


@pytest.mark.parametrize(
    ("content", "arguments", "code", "message"),
    [
        ("{", (), 2, "mcp.json is not JSON"),
        ("{}", (), 2, "mcp.json has no MCP servers"),
        (CLAUDE, ("nobody",), 12, "has no MCP server 'nobody'"),
        (CLAUDE, ("--mcp", "https://a.example"), 2, "--mcp cannot be used"),
        ('{"mcpServers": {"old": {"type": "sse", "url": "http://a"}}}', (), 2, "uses SSE, an older transport"),
        ('{"mcpServers": {"empty": {}}}', (), 2, "has neither `url` nor `command`"),
        ('{"servers": {"a": {"command": "${NOWHERE}/x"}}}', (), 2, "refers to NOWHERE, which is not set"),
    ],
)
def test_a_file_that_cannot_be_taken_over_adds_nothing(
    home: Home, content: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    home.write("mcp.json", content)
    done = home.aorch("agents", "add", *arguments, "--mcp-config", "mcp.json")
    assert (done.code, message in done.err) == (code, True), done.err
    assert (home.folder / "aorch.toml").read_text() == ""

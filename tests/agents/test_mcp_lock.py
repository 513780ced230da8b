"""aorch.lock keeps the tools of MCP servers, so that listing agents, completion and routing start no server."""

from pathlib import Path

import pytest
from homes import Home
from mcp_agents import PROGRAM, TABLE, TOOLS, known

from aorch.agents import mcp_lock
from aorch.agents.mcp_lock import LockedServer, LockedTool
from aorch.errors import ConfigInvalid


def started(home: Home) -> int:
    """How often the server has started."""
    file = home.folder / "started"
    return len(file.read_text().split()) if file.exists() else 0


def test_adding_a_server_lists_its_tools_once_and_they_run(home: Home) -> None:
    added = home.aorch("agents", "add", "tools", "--mcp", "--timeout", "50", "--", *PROGRAM)
    assert (added.code, added.err) == (0, "")
    assert "capabilities: tools.add, tools.say" in added.out
    assert home.aorch("agents", "show", "tools", "--json").json["version"] == "1.2"
    completed = home.environment | {
        "_AORCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "aorch run tools.ad",
        "COMP_CWORD": "2",
    }
    assert Home(home.folder, completed).aorch().out == "tools.add\n"
    assert home.aorch("agents", "check", "tools").code == 0
    assert started(home) == 1
    assert home.aorch("run", "tools.add", "a:=1", "b:=2").out == '{"sum":3}\n'
    assert home.aorch("agents", "remove", "tools").code == 0
    assert "tools" not in (home.folder / "aorch.lock").read_text()


def test_changed_tools_are_shown_until_they_are_refreshed(home: Home) -> None:
    home.write("aorch.toml", TABLE)
    known(home.folder)
    home.environment["MCP_TOOLS"] = "changed"
    assert home.aorch("agents", "list", "--json").json["agents"][1]["changes"] == []
    done = home.aorch("run", "tools.environment")
    assert done.code == 0
    assert "warning: the tools of tools have changed: new tool sing; add has other parameters; say was rem" in done.err
    assert "tools\tmcp\tavailable, changed\t" in home.aorch("agents", "list").out
    assert "changed: new tool sing; add has" in home.aorch("agents", "show", "tools").out
    checked = home.aorch("agents", "check", "tools")
    assert (checked.code, "changed: new tool sing" in checked.out) == (0, True)
    assert home.aorch("run", "tools.sing", "text=a").code == 11
    removed = home.aorch("run", "tools.say")
    assert (removed.code, "its MCP server no longer has the tool 'say'" in removed.err) == (10, True), removed.err
    assert "tools: say was removed\n" in home.aorch("agents", "refresh", "tools").out
    assert home.aorch("agents", "show", "tools", "--json").json["changes"] == []
    assert home.aorch("run", "tools.sing", "text=a").out == "la a\n"


def test_a_server_that_does_not_start_is_added_and_the_reason_is_its_last_line(home: Home) -> None:
    home.environment["MCP_TOOLS"] = "broken"
    added = home.aorch("agents", "add", "tools", "--mcp", "--", *PROGRAM)
    assert added.code == 0
    reason = "its MCP server closed the connection before it answered: its licence has expired"
    assert f"warning: tools cannot run tasks yet: {reason}" in added.err
    assert home.aorch("run", "echo", "text=a").code == 0


def test_a_table_that_was_written_by_hand_works_at_once(home: Home) -> None:
    home.write("aorch.toml", TABLE)
    assert home.aorch("agents", "list", "--json").json["agents"][1]["capabilities"] == []
    assert home.aorch("run", "another").code == 11
    assert started(home) == 0
    assert home.aorch("run", "tools.add", "a:=1", "b:=2").out == '{"sum":3}\n'
    assert '"add"' in (home.folder / "aorch.lock").read_text()
    assert started(home) == 1


def test_each_change_of_a_tool_is_named() -> None:
    before = {"a": LockedTool("A"), "b": LockedTool("B"), "c": LockedTool("C", {"type": "object"})}
    after = {"b": LockedTool("B", read_only=True), "c": LockedTool("D", {"type": "object", "x": 1}), "d": LockedTool()}
    assert mcp_lock.differences(before, after) == [
        "new tool d",
        "a was removed",
        "b has other hints",
        "c has other parameters and description",
    ]
    assert mcp_lock.differences(TOOLS, TOOLS) == []


def test_tools_of_another_program_are_not_used(tmp_path: Path) -> None:
    file = tmp_path / "aorch.toml"
    mcp_lock.write(file, "a", LockedServer(mcp_lock.source_of(["one"]), "1", TOOLS))
    assert mcp_lock.read(file, "a", mcp_lock.source_of(["one"])) is not None
    assert mcp_lock.read(file, "a", mcp_lock.source_of(["two"])) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not a lock file of aorch"), ('{"version": 2}', "was written by a newer aorch (version 2)")],
)
def test_an_unreadable_lock_file_is_an_error_that_names_it(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "aorch.lock").write_text(content)
    with pytest.raises(ConfigInvalid, match=r"aorch\.lock") as raised:
        mcp_lock.read(tmp_path / "aorch.toml", "a", "")
    assert message in str(raised.value)

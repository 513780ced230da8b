"""`agents add` and `agents remove` change one agent of aorch.toml and nothing else, whatever the file looks like."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import Home

from aorch import agent_declarations
from aorch.config import settings
from aorch.errors import ConfigInvalid, Conflict

TABLE = {"command": ["echo", "{name}"], "capabilities": {"c": {"parameters": {"name": "string"}}}}
BOM = b"\xef\xbb\xbf"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "aorch.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def add(agent_id: str) -> None:
    agent_declarations.declare_command(settings.load(), agent_id, json.loads(json.dumps(TABLE)))


def remove(agent_id: str) -> None:
    agent_declarations.strike(settings.load(), agent_id)


@pytest.mark.parametrize(
    "before",
    [
        "",
        "# mine\ntimeout_s = 5 # short\n",
        "agents.a.command = ['cat']\nagents.a.capabilities.ca = {}\n",
        "[agents]\na.command = ['cat']\na.capabilities = {ca = {}}\n",
        "[agents.a]\ncommand = ['cat']\n[agents.a.capabilities.ca]\n\n[serve]\nport = 1",
        "[agents.a]\ncommand = ['cat']\ncapabilities = {ca = {}} # no newline at the end",
        "ledger = '''\nl.db'''\n[agents.'b.c']\ncommand = ['cat']\n[agents.'b.c'.capabilities.ca]\n[queue]\n",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_an_agent_is_added_and_removed_and_the_rest_stays_byte_for_byte(
    folder: Path, before: str, newline: str, mark: bytes
) -> None:
    file = folder / "aorch.toml"
    data = mark + before.replace("\n", newline).encode()
    file.write_bytes(data)
    add("new")
    added = file.read_bytes()
    assert added.startswith(data)
    assert not before or added.count(b"\n") == added.count(newline.encode())
    assert settings.load().agents["new"].command == ["echo", "{name}"]
    remove("new")
    left = file.read_bytes().removeprefix(BOM).decode()
    assert tomllib.loads(left).get("agents", {}) == tomllib.loads(before).get("agents", {})
    assert left.rstrip() == before.replace("\n", newline).rstrip()


def test_a_form_that_cannot_be_edited_stays_and_the_hint_is_what_to_write(folder: Path) -> None:
    before = "agents = {a = {command = ['cat'], capabilities = {ca = {}}}}\n"
    (folder / "aorch.toml").write_text(before)
    with pytest.raises(ConfigInvalid, match="in a form that aorch cannot edit") as raised:
        add("new")
    assert "new" in tomllib.loads(raised.value.hint.partition("\n")[2])["agents"]
    assert (folder / "aorch.toml").read_text() == before
    with pytest.raises(Conflict):
        add("a")
    remove("a")
    assert settings.load().agents == {}


def test_what_toml_does_not_have_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be written as TOML"):
        agent_declarations.declare_command(
            settings.load(), "a", {"command": ["cat"], "capabilities": {"c": {"parameters": {"x": None}}}}
        )
    assert (folder / "aorch.toml").read_text() == ""


def test_a_symbolic_link_stays_one_and_a_new_file_has_the_mode_that_umask_gives(home: Home) -> None:
    file = home.folder / "aorch.toml"
    (home.folder / "dotfiles").mkdir()
    file.rename(home.folder / "dotfiles/real.toml")
    (home.folder / "dotfiles/real.toml").chmod(0o640)
    file.symlink_to("dotfiles/real.toml")
    assert home.aorch("agents", "add", "a", "--capability", "c", "--", "true").code == 0
    assert file.is_symlink()
    assert "agents.a" in (home.folder / "dotfiles/real.toml").read_text()
    assert (home.folder / "dotfiles/real.toml").stat().st_mode & 0o777 == 0o640
    file.unlink()
    shell = f"umask 027; exec {sys.executable} -m aorch agents add a --capability c -- true"
    subprocess.run(["/bin/sh", "-c", shell], cwd=home.folder, env=home.environment, check=True, timeout=60)
    assert file.stat().st_mode & 0o777 == 0o640


def test_many_that_add_and_remove_at_once_lose_nothing(home: Home) -> None:
    home.aorch("agents", "add", "old", "--capability", "c", "--", "true")
    adding = [home.start("agents", "add", f"a{n}", "--capability", f"c{n}", "--", "true") for n in range(4)]
    removing = home.start("agents", "remove", "old")
    assert [process.communicate(timeout=60) and process.returncode for process in (*adding, removing)] == [0] * 5
    assert set(tomllib.loads((home.folder / "aorch.toml").read_text())["agents"]) == {"a0", "a1", "a2", "a3"}
    assert not list(home.folder.glob(".aorch-*"))

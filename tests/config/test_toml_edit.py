"""`toml_edit` adds and removes one table and changes nothing else, whatever the file looks like."""

import tomllib
from pathlib import Path

import pytest

from aorch.config import toml_edit
from aorch.errors import ConfigInvalid, Conflict, NotFound

TABLE = {"command": ["echo", "{name}"], "capabilities": {"c": {"parameters": {"name": "string"}}}}
BOM = b"\xef\xbb\xbf"


def add(file: Path, name: str) -> None:
    toml_edit.add_table(file, "agents", name, TABLE)


def agents_of(file: Path) -> object:
    return tomllib.loads(file.read_bytes().decode("utf-8-sig")).get("agents", {})


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
def test_a_table_is_added_and_removed_and_the_rest_stays_byte_for_byte(
    tmp_path: Path, before: str, newline: str, mark: bytes
) -> None:
    file = tmp_path / "aorch.toml"
    data = mark + before.replace("\n", newline).encode()
    file.write_bytes(data)
    add(file, "new")
    added = file.read_bytes()
    assert added.startswith(data)
    assert not before or added.count(b"\n") == added.count(newline.encode())
    assert agents_of(file) == {**tomllib.loads(before).get("agents", {}), "new": TABLE}
    toml_edit.remove_table(file, "agents", "new")
    assert agents_of(file) == tomllib.loads(before).get("agents", {})
    assert file.read_bytes().removeprefix(BOM).decode().rstrip() == before.replace("\n", newline).rstrip()


def test_a_form_that_cannot_be_edited_stays_and_the_hint_shows_what_to_write(tmp_path: Path) -> None:
    file, before = tmp_path / "aorch.toml", "agents = {a = {command = ['cat'], capabilities = {ca = {}}}}\n"
    file.write_text(before)
    with pytest.raises(ConfigInvalid, match="in a form that aorch cannot edit") as raised:
        add(file, "new")
    assert tomllib.loads(raised.value.hint.partition("\n")[2]) == {"agents": {"new": TABLE}}
    assert file.read_text() == before
    with pytest.raises(Conflict, match=r"\[agents.a\] already exists"):
        add(file, "a")
    toml_edit.remove_table(file, "agents", "a")
    assert agents_of(file) == {}


def test_null_which_toml_does_not_have_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "aorch.toml"
    with pytest.raises(ConfigInvalid, match=r"\[agents.a\] cannot be written as TOML"):
        toml_edit.add_table(file, "agents", "a", {"capabilities": {"c": {"parameters": {"x": None}}}})
    assert not file.exists()


def test_a_table_that_does_not_exist_cannot_be_removed(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no \[agents.a\]"):
        toml_edit.remove_table(tmp_path / "aorch.toml", "agents", "a")

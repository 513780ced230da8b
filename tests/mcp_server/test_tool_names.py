"""Tool names are those of capabilities, in the characters that hosts accept, without collisions."""

import re

from hypothesis import given
from hypothesis import strategies as st

from aorch.mcp_server.tool_names import by_tool


def test_a_name_is_kept_if_it_can_be_and_each_foreign_character_becomes_an_underscore() -> None:
    assert by_tool(["echo", "files.read_file", "a b"]) == {
        "echo": "echo",
        "files_read_file": "files.read_file",
        "a_b": "a b",
    }


def test_a_name_that_another_capability_has_ends_in_a_checksum_that_its_order_does_not_change() -> None:
    names = ["files.read", "files_read", "files read", "x" * 70]
    found = by_tool(names)
    assert found["files_read"] == "files_read"
    assert by_tool(reversed(names)) == found


@given(st.lists(st.text(min_size=1, max_size=80)))
def test_every_capability_has_a_tool_of_its_own(names: list[str]) -> None:
    found = by_tool(names)
    assert sorted(found.values()) == sorted(set(names))
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", tool) for tool in found)

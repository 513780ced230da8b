"""A server that all tests of a module share, where each has a session (and keys) of its own.

A module takes it by `home, server = shared.home, shared.server`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from api import home_in
from conftest import Home
from serving import Server, serving


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, made_ledger: Path) -> Home:
    """A home with agents of every kind of conduct."""
    return home_in(tmp_path_factory.mktemp("home"), made_ledger)


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[Server]:
    """One that runs there."""
    with serving(home) as server:
        yield server

"""A server that all tests of a module share, where each has a session (and keys) of its own.

A module takes it by `home, server = shared.home, shared.server`.
"""

from collections.abc import Iterator

import pytest
from api import with_agents
from homes import Home
from serving import Server, serving


@pytest.fixture(scope="module")
def home(module_home: Home) -> Home:
    """The home of the shared server, with the agents of api.CONFIG."""
    return with_agents(module_home)


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[Server]:
    """A server that the tests of a module share."""
    with serving(home) as server:
        yield server

"""Fixtures of the server tests."""

from pathlib import Path

import pytest
from api import with_agents
from homes import Home, home_with_ledger


@pytest.fixture
def own_home(tmp_path: Path, made_ledger: Path) -> Home:
    """A machine with the agents of api.CONFIG for one test, also in a module whose tests share `home`."""
    return with_agents(home_with_ledger(tmp_path, made_ledger))


@pytest.fixture
def home(own_home: Home) -> Home:
    """A machine with the agents of api.CONFIG."""
    return own_home

"""Fixtures of the worker tests."""

import pytest
from homes import Home
from queueing import furnish


@pytest.fixture
def home(home: Home) -> Home:
    """A machine with the agents of queueing.CONFIG."""
    return furnish(home)

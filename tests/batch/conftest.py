"""Fixtures of the batch tests."""

import pytest
from batches import with_witness
from homes import Home


@pytest.fixture
def home(home: Home) -> Home:
    """A machine with the agent of batches.WITNESS."""
    return with_witness(home)

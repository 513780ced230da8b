"""Fixtures of the ledger tests."""

from pathlib import Path

import pytest
from homes import Home


@pytest.fixture
def path(home: Home) -> Path:
    """The path of an empty ledger."""
    return home.ledger

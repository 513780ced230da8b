"""Fixtures of the ledger tests."""

from pathlib import Path

import pytest
from homes import Home
from ledgers import new_ledger

from aorch.config.ledger_location import LedgerLocation


@pytest.fixture
def path(home: Home) -> Path:
    """The path of an empty ledger."""
    return home.ledger


@pytest.fixture
def blank(tmp_path: Path) -> LedgerLocation:
    """An empty ledger."""
    return new_ledger(tmp_path, "blank.db")

"""Fixtures of the ledger tests."""

import shutil
from pathlib import Path

import pytest
from homes import Home


@pytest.fixture
def path(home: Home) -> Path:
    """The path of an empty ledger."""
    return home.ledger


@pytest.fixture
def blank(tmp_path: Path, made_ledger: Path) -> Path:
    """An empty ledger to copy."""
    return Path(shutil.copy(made_ledger, tmp_path / "blank.db"))

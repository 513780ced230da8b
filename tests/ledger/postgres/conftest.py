"""Fixtures of the tests that compare a PostgreSQL ledger with a file."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path, made_ledger: Path) -> Path:
    """The path of an empty ledger in a file, also if the ledgers of other tests are on PostgreSQL."""
    return Path(shutil.copy(made_ledger, tmp_path / "file.db"))

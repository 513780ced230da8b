"""Fixtures of the tests of clients."""

from pathlib import Path

import pytest
from homes import Home, home_with_ledger


@pytest.fixture
def own_home(tmp_path: Path, made_ledger: Path) -> Home:
    """A machine for one test, also in a module whose tests share one."""
    return home_with_ledger(tmp_path, made_ledger)

"""Where the migrations of the ledger are. Imports Alembic, so only the modules that migrate a ledger import it."""

import threading
from pathlib import Path
from typing import Any

from alembic.config import Config

one_at_a_time = threading.Lock()
"""Alembic's context is global: two threads that upgrade two ledgers at once would use each other's connection."""


def configuration(connection: Any = None) -> Config:
    """Alembic's configuration for the migrations inside the package, or next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_migrations"
    config = Config()
    scripts = shipped if shipped.is_dir() else package.parent / "migrations"
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))  # `%` starts a reference there
    config.attributes["connection"] = connection
    return config

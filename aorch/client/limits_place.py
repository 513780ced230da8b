"""Where a worker at a server keeps the limits of its agents."""

import hashlib
import tempfile
from pathlib import Path

from aorch.config import config_file
from aorch.ledger.database import exclusive


def place_of_limits(url: str) -> Path:
    """The path beside which the limits of agents are kept that workers of this user at the server `url` share. It has no ledger.

    Raises LedgerError.
    """
    folder = config_file.user_folder("data") or Path(tempfile.mkdtemp())
    path = folder / f"worker-{hashlib.sha256(url.encode()).hexdigest()[:16]}.db"
    with exclusive(path, "limits"):  # makes the directory
        return path

"""Recovery: REQUESTs that a dead process left open are answered before a read, and while a service or a worker runs."""

import asyncio
from contextlib import suppress
from pathlib import Path

from aorch.engine.supervision import Turned
from aorch.errors import LedgerError
from aorch.ledger import ledger as store
from aorch.ledger.ledger import Ledger

LOOK_AFTER_S = 0.5
"""How often the ledger is checked for what dead processes left open."""


def recover(ledger: Path) -> Path:
    """Answer with `interrupted` what dead processes left open in `ledger`, and return its path.

    A ledger that does not exist, or that cannot be written now, stays as it is: what can be read of it is still true.
    """
    with suppress(LedgerError, OSError):
        store.recover(ledger)
    return ledger


async def keep_recovering(ledger: Ledger, turned: Turned) -> None:
    """Recover what processes leave open in `ledger` when they die, from now on. A loop for supervision.py."""
    while True:
        await ledger.recover_lost()
        turned()
        await asyncio.sleep(LOOK_AFTER_S)

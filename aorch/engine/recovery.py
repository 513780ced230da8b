"""Recovery: answers REQUESTs that dead processes left open, before a read and while a service or a worker runs."""

import asyncio
from contextlib import suppress

from aorch.config.ledger_location import LedgerLocation
from aorch.engine.supervision import Turned
from aorch.errors import LedgerError
from aorch.ledger import lost_requests
from aorch.ledger.ledger import Ledger

LOOK_AFTER_S = 0.5
"""How often the ledger is checked for REQUESTs of dead processes."""


def recover(ledger: LedgerLocation) -> LedgerLocation:
    """Answer the REQUESTs that dead processes left open in `ledger` with `interrupted`, and return its path. A ledger that
    does not exist or cannot be written now is left unchanged: its content is still correct.
    """
    with suppress(LedgerError, OSError):
        lost_requests.recover(ledger)
    return ledger


async def keep_recovering(ledger: Ledger, turned: Turned) -> None:
    """Keep answering REQUESTs in `ledger` whose processes die. A loop for supervision.py.

    It cannot wait for the change feed, because the death of a process changes nothing in the ledger.
    """
    while True:
        await ledger.recover_lost()
        turned()
        await asyncio.sleep(LOOK_AFTER_S)

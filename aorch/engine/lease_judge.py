"""Ends the leases of workers over HTTP that were not renewed in time, and takes tasks back that a worker has not confirmed.

One server per ledger does it.
"""

import asyncio
import time

from aorch.clock import from_rfc3339
from aorch.engine.supervision import Turned
from aorch.ledger.database import check_exclusive, exclusive
from aorch.ledger.ledger import Ledger

LOOK_S = 0.5
"""How often leases are checked."""
CONFIRM_S = 10.0
"""How long a worker may take to confirm that it has received tasks."""
STALL_S = 5.0
"""A pause of the loop, or a step of the clock, after which workers get their time once more."""


class LeaseJudge:
    """Ends the overdue leases of `ledger` by its own time.

    A worker can only renew while a server runs. So a lease is ended only after a server has watched for as long as the lease
    lasts: after a restart, after the machine slept and after its clock was set, each worker has its whole time again.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._since = self._looked_at = self._drift_s = 0.0
        self._unconfirmed: dict[tuple[str, str], float] = {}

    async def run(self, turned: Turned) -> None:
        """Judge until cancelled, whenever no other process does. A loop for supervision.py."""
        while True:
            with exclusive(self._ledger.path, "leases") as mine:
                if mine:
                    await self._judge(turned)
            turned()
            await asyncio.sleep(LOOK_S)

    async def _judge(self, turned: Turned) -> None:
        self._looked_at = float("-inf")
        while True:
            check_exclusive(self._ledger.path, "leases")
            moment, overdue = self._ledger.work.overdue()
            self._notice_stall(moment)
            watched_s = time.monotonic() - self._since
            if late := [lease_id for lease_id, lease_s in overdue if lease_s <= watched_s]:
                await self._ledger.work.end_overdue(late, moment)
            await self._take_back()
            turned()
            await asyncio.sleep(LOOK_S)

    async def _take_back(self) -> None:
        """Queue tasks again whose worker has not confirmed that it received them: perhaps it was cut off while it waited."""
        now_s = time.monotonic()
        self._unconfirmed = {each: self._unconfirmed.get(each, now_s) for each in self._ledger.work.unconfirmed()}
        if late := [each for each, since in self._unconfirmed.items() if now_s - since > CONFIRM_S]:
            await self._ledger.work.take_back(late)

    def _notice_stall(self, moment: str) -> None:
        """Start to watch anew if workers may not have been able to renew, or the time of the ledger has jumped."""
        now_s = time.monotonic()
        drift_s = from_rfc3339(moment).timestamp() - now_s
        if now_s - self._looked_at > STALL_S or abs(drift_s - self._drift_s) > STALL_S:
            self._since = now_s
        self._looked_at, self._drift_s = now_s, drift_s

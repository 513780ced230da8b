"""Limits on requests: how many run at once, and how many a caller may send per second."""

import asyncio
import time
from math import ceil
from typing import Any

from aorch.engine.supervision import Turned
from aorch.ledger.rate_buckets import RateBuckets
from aorch.server.problems import HttpError

BURST_S = 10
"""A caller may send this many seconds' worth of requests at once."""
SHARE_S = 0.25
"""How often servers of a ledger exchange what callers have spent."""
MAX_CALLERS = 20_000
"""Number of callers whose rate is remembered; at twice this number, the callers that were silent for longest are forgotten.
"""


class ConcurrencyLimit:
    """Counts the requests that run, up to `most`, and ends them when the server stops."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.closing = False
        self.running: set[asyncio.Task[Any] | None] = set()

    def enter(self, *, counted: bool = True) -> asyncio.Task[Any] | None:
        """Start a request, and return the current task for `running.discard`. Raises HttpError (503): full, or stopping.

        A request that is not `counted` also starts when the server is full, and is not waited for when it stops.
        """
        if self.closing:
            raise HttpError(503, "stopping", "the server is stopping", "Try again later, or on another server.")
        if not counted:
            return None
        if len(self.running) >= self.most:
            raise HttpError(
                503,
                "overloaded",
                f"{self.most} requests are running, the limit (serve.max_concurrent)",
                "Try again later.",
            )
        task = asyncio.current_task()
        self.running.add(task)
        return task

    async def close(self, grace_s: float, cancel_s: float, hurry: asyncio.Event) -> None:
        """Start no more requests. Wait up to `grace_s` seconds for running ones, cancel the rest, and wait for these.

        Setting `hurry` ends the grace period.
        """
        self.closing = True
        if running := self._tasks():
            ended, hurried = asyncio.ensure_future(asyncio.wait(running)), asyncio.ensure_future(hurry.wait())
            await asyncio.wait((ended, hurried), timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            hurried.cancel()
        if running := self._tasks():
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=cancel_s)

    def count(self) -> int:
        """The number of running requests."""
        return len(self._tasks())

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [task for task in self.running if task is not None]


class RateLimit:
    """A token bucket for each caller: `rate_per_s` requests on average, BURST_S seconds' worth at once.

    A bucket is stored as the time at which it is full again. A bucket that was not used for BURST_S seconds is full, like a
    new one, so unused buckets are removed every BURST_S seconds. `share` adds what callers spend at other servers of the ledger.
    """

    def __init__(self, rate_per_s: float) -> None:
        self._cost_s = 1 / rate_per_s
        self._capacity_s = max(BURST_S, self._cost_s) + 1e-6
        self._full_at: dict[str, float] = {}
        self._older: dict[str, float] = {}
        self._forget_at = 0.0
        self._spent_s: dict[str, float] | None = None
        """What callers have spent here since the last exchange with other servers; None if there is none."""

    async def share(self, rates: RateBuckets, turned: Turned) -> None:
        """Exchange what callers spend with the other servers of the ledger every SHARE_S. A loop for supervision.py.

        What a caller spends at several servers at the same time can exceed the limit; it then waits for longer.
        """
        while True:
            spent_s, self._spent_s = self._spent_s, {}
            if spent_s:
                try:
                    full_in_s, moment = await rates.spend(spent_s), time.monotonic()
                except BaseException:
                    self._spent_s = {
                        caller: spent_s.get(caller, 0.0) + more for caller, more in self._spent_s.items()
                    } | {caller: more for caller, more in spent_s.items() if caller not in self._spent_s}
                    raise
                for caller, seconds in full_in_s.items():
                    self._full_at[caller] = moment + seconds + self._spent_s.get(caller, 0.0)
            turned()
            await asyncio.sleep(SHARE_S)

    def take(self, caller: str) -> None:
        """Count one request of `caller`. Raises HttpError (429) with the time until the next one is allowed."""
        moment = time.monotonic()
        if moment >= self._forget_at or len(self._full_at) >= MAX_CALLERS:
            self._older, self._full_at = self._full_at, {}
            self._forget_at = moment + self._capacity_s
        full_at = self._full_at.get(caller) or self._older.get(caller, 0.0)
        full_at = max(full_at, moment) + self._cost_s
        wait_s = full_at - moment - self._capacity_s
        if wait_s > 0:
            raise HttpError(
                429,
                "too_many",
                f"more than {1 / self._cost_s:g} requests per second (serve.rate_per_s)",
                f"Try again in {ceil(10 * wait_s) / 10:g} s.",
                Retry_After=str(ceil(wait_s)),
            )
        self._full_at[caller] = full_at
        if self._spent_s is not None:
            self._spent_s[caller] = self._spent_s.get(caller, 0.0) + self._cost_s

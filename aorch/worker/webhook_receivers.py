"""Decides which webhook receivers may be called now, so that a receiver that hangs does not block the others."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from aorch.net.addresses import host_of

AT_ONCE_PER_HOST = 8
"""Maximum number of webhooks in flight to the same host and port; only one if the last attempt there got no response."""
MOST_SILENT = 10_000
"""Maximum number of hosts that are remembered as silent."""


class Receivers:
    """Tracks receivers that have webhooks in flight, do not respond, or asked for a pause."""

    def __init__(self) -> None:
        self._in_flight: Counter[str] = Counter()
        self._silent: set[str] = set()
        self._resting: dict[str, float] = {}
        self._gone: set[str] = set()

    def full(self) -> list[str]:
        """The hosts that get no more webhooks now, in the form of `host_of`."""
        return [host for host, count in self._in_flight.items() if count >= self._most(host)]

    def resting(self) -> list[str]:
        """The URLs that asked for a pause, until it ends, and those that are being given up."""
        moment = time.monotonic()
        self._resting = {url: until for url, until in self._resting.items() if until > moment}
        return [*self._resting, *self._gone]

    @contextmanager
    def giving_up(self, url: str) -> Iterator[None]:
        """Stop calling `url` while the block runs; the block gives up the webhooks of `url` in the ledger."""
        self._gone.add(url)
        try:
            yield
        finally:
            self._gone.discard(url)

    def begin(self, url: str) -> bool:
        """Count a webhook as in flight. Returns False if its host has reached its limit."""
        host = host_of(url)
        if self._in_flight[host] >= self._most(host):
            return False
        self._in_flight[host] += 1
        return True

    def end(self, url: str, *, silent: bool, pause_s: float) -> None:
        """Stop counting it. `silent`: there was no response; `pause_s`: the pause that the receiver asked for."""
        host = host_of(url)
        self._in_flight[host] -= 1
        if not self._in_flight[host]:
            del self._in_flight[host]
        if not silent:
            self._silent.discard(host)
        elif len(self._silent) < MOST_SILENT:
            self._silent.add(host)
        if pause_s:
            self._resting[url] = time.monotonic() + pause_s

    def _most(self, host: str) -> int:
        return 1 if host in self._silent else AT_ONCE_PER_HOST

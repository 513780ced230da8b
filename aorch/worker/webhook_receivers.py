"""Which receivers of webhooks may be called now, so that one that hangs does not hold up the others."""

import time
from collections import Counter

from aorch.net.addresses import host_of

AT_ONCE_PER_HOST = 8
"""How many webhooks are under way to the same host and port; one while the last attempt there got no answer."""
MOST_SILENT = 10_000
"""Hosts that are remembered as silent."""


class Receivers:
    """The receivers that are called now, do not answer, or asked for a pause."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._silent: set[str] = set()
        self._resting: dict[str, float] = {}

    def full(self) -> list[str]:
        """The hosts that take no further webhook now, as `host_of` writes them."""
        return [host for host, count in self._under_way.items() if count >= self._most(host)]

    def resting(self) -> list[str]:
        """The URLs that asked for a pause which is not over."""
        moment = time.monotonic()
        self._resting = {url: until for url, until in self._resting.items() if until > moment}
        return list(self._resting)

    def begin(self, url: str) -> bool:
        """Count a webhook as under way; False if its host takes no further one now."""
        host = host_of(url)
        if self._under_way[host] >= self._most(host):
            return False
        self._under_way[host] += 1
        return True

    def end(self, url: str, *, silent: bool, pause_s: float) -> None:
        """Count it no more. `silent`: there was no answer; `pause_s` is how long its receiver asked not to be called."""
        host = host_of(url)
        self._under_way[host] -= 1
        if not self._under_way[host]:
            del self._under_way[host]
        if not silent:
            self._silent.discard(host)
        elif len(self._silent) < MOST_SILENT:
            self._silent.add(host)
        if pause_s:
            self._resting[url] = time.monotonic() + pause_s

    def _most(self, host: str) -> int:
        return 1 if host in self._silent else AT_ONCE_PER_HOST

"""ULIDs (https://github.com/ulid/spec) that increase within a process."""

import os
import threading
import time
from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_CHARACTERS = (_ALPHABET * 8).encode()
"""A random byte as one of the 32 characters, each equally likely: the table for `bytes.translate`."""
_LAST_FOUR = (1 << 20) - 1
"""The bits of an id's last four characters."""
_DRAWN = 64
"""Number of ids for which random bytes are drawn at a time, because each call releases the interpreter's lock."""


class Ids:
    """ULIDs (48 bits of milliseconds, 80 random bits) that increase within this process.

    Within one millisecond, and when the clock steps back, the next id is the last one plus one: the monotonic form of the
    specification. python-ulid has no monotonic form, and takes 50 ms to import. Nothing parses ids: those of imported
    contracts can have any form.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ms, self._low, self._high, self._beginning = -1, 0, "", ""
        self._second, self._start = -1, ""
        self._random: list[tuple[str, int]] = []

    def next(self) -> str:
        """A new id, greater than every one before."""
        now_ms = int(self._clock() * 1000)
        with self._lock:
            if now_ms > self._ms:
                if now_ms >> 10 != self._second:
                    self._second = top = now_ms >> 10
                    self._start = "".join([_PAIRS[top >> shift & 1023] for shift in (30, 20, 10, 0)])
                characters, low = (self._random or self._draw()).pop()
                self._ms, self._low = now_ms, low
                self._high = self._start + _PAIRS[now_ms & 1023] + characters
                self._beginning = self._high + _PAIRS[low >> 30] + _PAIRS[low >> 20 & 1023]
            else:
                self._low = low = self._low + 1
                if not low & _LAST_FOUR:
                    self._beginning = self._high + _PAIRS[low >> 30] + _PAIRS[low >> 20 & 1023]
            return self._beginning + _PAIRS[low >> 10 & 1023] + _PAIRS[low & 1023]

    def _draw(self) -> list[tuple[str, int]]:
        """Random parts of ids: 8 characters, and the number in the last 8, with room to count up 549,755,813,888 times."""
        high, low = os.urandom(8 * _DRAWN).translate(_CHARACTERS).decode(), os.urandom(5 * _DRAWN)
        self._random = [
            (high[8 * place : 8 * place + 8], int.from_bytes(low[5 * place : 5 * place + 5], "big") >> 1)
            for place in range(_DRAWN)
        ]
        return self._random

    @staticmethod
    def earliest_at(moment_s: float) -> str:
        """The smallest id of the millisecond that contains that time (seconds since 1970; at least 0)."""
        ms = int(max(moment_s, 0) * 1000)
        return "".join([_PAIRS[ms >> shift & 1023] for shift in (40, 30, 20, 10, 0)]) + _ALPHABET[0] * 16

    def forget(self) -> None:
        """Start again. A forked child must do this, because it and its parent would count up from the same id."""
        Ids.__init__(self, self._clock)


_ids = Ids()
os.register_at_fork(after_in_child=_ids.forget)
new_id = _ids.next
"""A new ULID, greater than any that this process made before."""
earliest_id_at = Ids.earliest_at
"""The smallest ULID of a time, to find contracts since then."""

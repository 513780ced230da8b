"""ULIDs (https://github.com/ulid/spec) that increase within a process."""

import os
import threading
import time
from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_LOW = (1 << 40) - 1
"""The bits of an id's last eight characters."""


class Ids:
    """ULIDs (48 bits of milliseconds, 80 random bits) that increase within this process.

    Within one millisecond, and when the clock steps back, the next id is the last one plus one: the monotonic form of the
    specification. python-ulid has no monotonic form, and takes 50 ms to import.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ms, self._low, self._beginning = -1, 0, ""
        self._random: list[bytes] = []

    def next(self) -> str:
        """A new id, greater than every one before."""
        now_ms = int(self._clock() * 1000)
        with self._lock:
            if now_ms > self._ms:
                if not self._random:  # many at a time, because each call releases the interpreter's lock
                    pool = os.urandom(10 * 64)
                    self._random = [pool[start : start + 10] for start in range(0, len(pool), 10)]
                drawn = int.from_bytes(self._random.pop(), "big")
                top, low = (
                    now_ms << 40 | drawn >> 40,
                    (drawn & _LOW) >> 1,
                )  # room to count up 549,755,813,888 times
                self._ms, self._low = now_ms, low
                self._beginning = "".join([_PAIRS[top >> shift & 1023] for shift in range(80, -1, -10)])
            else:
                self._low = low = self._low + 1
            beginning = self._beginning
        return beginning + _PAIRS[low >> 30] + _PAIRS[low >> 20 & 1023] + _PAIRS[low >> 10 & 1023] + _PAIRS[low & 1023]

    def forget(self) -> None:
        """Start again. A forked child must do this, because it and its parent would count up from the same id."""
        Ids.__init__(self, self._clock)


_ids = Ids()
os.register_at_fork(after_in_child=_ids.forget)
new_id = _ids.next
"""A new ULID, greater than any that this process made before."""

"""Exponential backoff: how long to wait between attempts."""

from typing import NamedTuple


class Backoff(NamedTuple):
    """Pauses that double from `first_s` to `longest_s` (seconds). Each is multiplied by a random factor in the range
    `jitter`, so that several processes do not retry at the same time.
    """

    first_s: float
    longest_s: float
    jitter: tuple[float, float] = (1.0, 1.0)

    def pause_s(self, failures: int) -> float:
        """The pause after `failures` failures in a row (1: the first one)."""
        pause_s = min(self.longest_s, self.first_s * 2.0 ** min(max(failures - 1, 0), 60))
        if self.jitter == (1.0, 1.0):
            return pause_s
        import random  # noqa: PLC0415  1 ms, which `aorch run` does not need

        return pause_s * random.SystemRandom().uniform(*self.jitter)

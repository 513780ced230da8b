"""How a writer knows, after its connection broke during a commit, whether the server has committed.

Each transaction of a writer stores a new number in the row of this writer in `counters`, so the row tells whether the last one
was committed, also after a failover. Transaction ids cannot tell: the new primary may have given the same id to another one.
"""

import time

from aorch.ids import new_id

KEPT_MS = 24 * 3600 * 1000
"""A row that is older than this belongs to a process that was killed."""


class Marks:
    """The marks of one writer: the times of its transactions in milliseconds since 1970, each at least 1 ms after the last.

    The times are those of the server's clock, so that a wrong clock of one machine removes no marks of another.
    """

    def __init__(self) -> None:
        self._name = f"write:{new_id()}"
        self._last = self._started_ms = 0

    @property
    def is_used(self) -> bool:
        """Whether there may be a row."""
        return self._last > 0

    def follow(self, server_ms: int) -> None:
        """Continue from the time that the server's clock shows now."""
        self._started_ms = server_ms - _elapsed_ms()

    def next(self) -> int:
        """The mark of a new transaction."""
        self._last = max(self._last + 1, self._started_ms + _elapsed_ms())
        return self._last

    def storing(self, mark: int) -> tuple[str, tuple[str, int]]:
        """The statement that stores `mark`."""
        return (
            "INSERT INTO counters (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (self._name, mark),
        )

    @property
    def stored(self) -> tuple[str, tuple[str]]:
        """The statement that selects the mark of the last committed transaction."""
        return "SELECT value FROM counters WHERE name = %s", (self._name,)

    @property
    def removal(self) -> tuple[str, tuple[str, int]]:
        """The statement that removes the row, and those of killed processes."""
        return (
            "DELETE FROM counters WHERE name = %s OR (name LIKE 'write:%%' AND value < %s)",
            (self._name, self._started_ms + _elapsed_ms() - KEPT_MS),
        )


def _elapsed_ms() -> int:
    return time.monotonic_ns() // 1_000_000

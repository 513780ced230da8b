"""Wakes the watchers of `Changes` without a database."""

from collections.abc import Callable


class Bell:
    """Notifies the watchers of `Changes` like a database that notifies: its version is the number of rings."""

    notifies = True

    def __init__(self) -> None:
        self._rings = 1
        self._calls: list[Callable[[], object]] = []

    def version(self) -> int:
        """The number of rings."""
        return self._rings

    def wake(self, call: Callable[[], object]) -> None:
        """Call `call` after each ring."""
        self._calls.append(call)

    def ring(self) -> None:
        """There are tasks or cancellations."""
        self._rings += 1
        for call in self._calls:
            call()

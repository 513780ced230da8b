"""A log on standard error whose lines are written together."""

import asyncio
import sys

FLUSH_AFTER_S = 0.1


class Log:
    """Lines are written together, FLUSH_AFTER_S after the first: a line of its own write costs 10 µs of each request."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Have `line` written soon."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Write what waits."""
        if self._lines:
            lines, self._lines = self._lines, []
            sys.stderr.write("\n".join(lines) + "\n")
            sys.stderr.flush()

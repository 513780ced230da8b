"""A log on standard error whose lines are written together."""

import asyncio
import sys
from typing import Any

from aorch import json
from aorch.ledger.row import Row

FLUSH_AFTER_S = 0.1


def end_of_task(response: Row) -> dict[str, Any]:
    """What a log says of a task of the queue that `response` answers."""
    about = json.decode(response.metadata)
    return {
        "capability": response.capability,
        "status": response.status,
        "duration_ms": about["duration_ms"],
        "contract_id": response.request_id,
        "session": response.session_id,
        **({"code": about["code"]} if "code" in about else {}),
    }


def as_text(said: dict[str, Any]) -> str:
    """That as words, with what follows the duration as `name=value`."""
    capability, status, duration_ms, *_ = said.values()
    besides = "".join([f" {name}={value}" for name, value in said.items()][3:])
    return f"{capability} {status} {duration_ms:.1f} ms{besides}"


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

"""A log on standard error whose lines are written together."""

import asyncio
import re
import sys
from typing import Any

from aorch import jsonio
from aorch.ledger.record import Row

FLUSH_AFTER_S = 0.1


def end_of_task(response: Row) -> dict[str, Any]:
    """What a log says of a task of the queue that `response` answers."""
    about = jsonio.decode(response.metadata)
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


_UNUSUAL = re.compile(r"[^ -~]+")
_LINE_BREAK = re.compile(r"\n(?! {2})")


def escaped(text: str) -> str:
    """`text` with characters that steer a terminal, or that hide what a line says (bidirectional ones), as JSON escapes.

    Line breaks stay, and what follows one is indented, so that no text passes for another line of the log.
    """
    if text.isprintable():
        return text
    return _LINE_BREAK.sub("\n  ", _UNUSUAL.sub(lambda found: "".join(map(_shown, found[0])), text))


def _shown(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join([f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4)])


class Log:
    """Lines are written together, FLUSH_AFTER_S after the first: a line of its own write costs 10 µs of each request."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Have `line` written soon; at once if no event loop runs in this thread."""
        is_first = not self._lines
        self._lines.append(escaped(line))
        if is_first:
            try:
                asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._lines:
            lines, self._lines = self._lines, []
            sys.stderr.write("\n".join(lines) + "\n")
            sys.stderr.flush()

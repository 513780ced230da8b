"""The latest progress of running tasks in the ledger, where other processes can read it."""

import asyncio
import contextlib
from collections.abc import Container, Iterable
from typing import Any

from aorch import jsonio
from aorch.clock import now
from aorch.engine.task import Redaction
from aorch.errors import AorchError, LedgerError
from aorch.ledger.ledger import Ledger

INTERVAL_S = 1.0
"""How often the progress of a task is written at most. A task that ends sooner writes none."""
MOST_CHARACTERS = 16_000
"""Longest progress that is kept; of a text in pieces the end."""


class ProgressLog:
    """Writes what agents report in one event loop, for the REQUESTs in `running`. Rows of ended tasks are deleted.

    `written` are the REQUESTs that have a row. All loops share it, because a loop may end before it deletes its rows.
    """

    def __init__(
        self, ledger: Ledger, loop: asyncio.AbstractEventLoop, running: Container[str], written: set[str]
    ) -> None:
        self._ledger, self._loop, self._running, self._written = ledger, loop, running, written
        self._latest: dict[str, Any] = {}
        self._redactions: dict[str, Redaction] = {}
        self._changed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def note(self, request_id: str, progress: Any, redaction: Redaction | None = None) -> None:
        """Remember the progress of that REQUEST, and write it within INTERVAL_S. Texts in pieces are joined."""
        if redaction is not None:
            self._redactions[request_id] = redaction
        self._latest[request_id] = _joined(self._latest.get(request_id), progress)
        self._changed.add(request_id)
        if self._timer is None:
            self._timer = self._loop.call_later(INTERVAL_S, self._write)

    def close(self) -> None:
        """Delete all rows, also those of other loops. The ledger commits this when it is closed."""
        if self._timer is not None:
            self._timer.cancel()
        if self._written:
            self._put((), tuple(self._written))

    def _write(self) -> None:
        moment, rows = now(), []
        ended = [request_id for request_id in self._latest if request_id not in self._running]
        for request_id in ended:
            del self._latest[request_id]
            self._redactions.pop(request_id, None)
        for request_id in self._changed & self._latest.keys():
            with contextlib.suppress(AorchError):  # it has no JSON form
                progress, redaction = self._latest[request_id], self._redactions.get(request_id)
                text = jsonio.encode(progress if redaction is None else redaction.value(progress))
                if len(text) <= MOST_CHARACTERS * 2:
                    rows.append((request_id, moment, text))
        forgotten = tuple(self._written.intersection(ended))
        self._written.difference_update(ended)
        self._written.update(row[0] for row in rows)
        self._changed.clear()
        if rows or forgotten:
            self._put(rows, forgotten)
        self._timer = self._loop.call_later(INTERVAL_S, self._write) if self._latest else None

    def _put(self, rows: Iterable[tuple[str, str, str]], ended: Iterable[str]) -> None:
        """Write and delete rows. If the ledger does not accept it, or is closed, the tasks go on."""
        with contextlib.suppress(LedgerError):
            writing = self._ledger.write_progress(rows, ended)
            writing.add_done_callback(lambda written: written.cancelled() or written.exception())


def _joined(before: Any, progress: Any) -> Any:
    if _is_text(before) and _is_text(progress):
        return {"text": (before["text"] + progress["text"])[-MOST_CHARACTERS:]}
    return progress


def _is_text(progress: Any) -> bool:
    return isinstance(progress, dict) and len(progress) == 1 and isinstance(progress.get("text"), str)

"""Limits of an agent that hold across the processes of a ledger: how many tasks it runs at once, and how often it is called.

Each agent has a file next to the ledger. A slot is a lock on one byte of it, which the kernel releases when the process ends
for any reason. The first 8 bytes are the time of the next call: the "theoretical arrival time" of the generic cell rate
algorithm, on the clock that all processes of a machine share.

The locks belong to an open file description (F_OFD_SETLK in fcntl(2)), not to the process as other locks of fcntl do: those are
lost when the process closes any descriptor of the file, and do not exclude two users of the file in one process.
"""

import fcntl
import math
import os
import random
import struct
import sys
import time
from pathlib import Path

from aorch.ledger.sqlite import files
from aorch.ledger.sqlite.connection import translated_os
from aorch.process.forking import forget_in_child, no_fork

LONGEST_PAUSE_S = 0.05
"""Maximum time until a waiting task notices that another process has freed a slot."""
_TURN, _FIRST_SLOT = 0, 8
"""The byte whose lock protects the time of the next call, and the byte of the first slot."""
_TIME = struct.Struct("<d")
_LOCK_FORMAT = "qqihh" if sys.platform == "darwin" else "hhqqi4x"
"""struct flock: type, whence, start, length, process; on macOS start, length, process, type, whence."""
_LATE = 0.1
"""A call that is late by up to this part of the interval does not delay the calls after it."""


class AgentLimits:
    """The slots and the rate of the agent `agent_id` on `ledger`. Any thread may use it; a forked child holds nothing.

    `slots` is None if the agent runs any number of tasks, and `rate_per_min` if it is called any number of times.
    """

    def __init__(self, ledger: Path, agent_id: str, slots: int | None, rate_per_min: float | None) -> None:
        from hashlib import sha256  # noqa: PLC0415  1 ms, only for agents with limits

        name = sha256(agent_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._file = files.beside(ledger, "owners") / f"agent-{name}"
        self._slots, self._interval_s = slots, 60 / rate_per_min if rate_per_min else 0.0
        self._held: set[int] = set()
        self._descriptor = -1

    def take(self) -> float:
        """Take a slot and the permission to call the agent now. Returns 0.0; if none is free, the seconds until the next attempt
        (math.inf: after `release`).

        Raises LedgerError.
        """
        with no_fork, translated_os():
            if self._slots is not None and len(self._held) >= self._slots:
                return math.inf
            self._open(os.O_CREAT)
            try:
                slot = self._lock_slot()
                if slot is None:
                    return _pause_s(LONGEST_PAUSE_S)
                wait_s = math.inf
                try:
                    wait_s = self._take_turn()
                finally:
                    if self._slots is not None:
                        if wait_s:  # not its turn yet, or its time could not be written
                            self._unlock(slot)
                        else:
                            self._held.add(slot)
                return wait_s
            finally:
                self._close_unused()

    def release(self) -> None:
        """Free a slot that this object holds."""
        with no_fork:
            if self._held:
                self._unlock(self._held.pop())
                self._close_unused()

    def look(self) -> tuple[int, float]:
        """The number of tasks that could start now; if it is 0, also the seconds until the next look. Takes and writes nothing.

        A file that cannot be read counts as free, because `take` then raises the reason.
        """
        with no_fork:
            free = sys.maxsize if self._slots is None else self._slots - len(self._held)
            try:
                self._open()
            except OSError:
                return (1 if self._interval_s else free), 0.0
            try:
                if self._slots is not None:
                    free = sum(self._is_free(slot) for slot in self._range() if slot not in self._held)
                wait_s = self._until_turn() if self._interval_s else 0.0
            finally:
                self._close_unused()
        if not free or wait_s:
            return 0, wait_s or LONGEST_PAUSE_S
        return (1 if self._interval_s else free), 0.0

    def forget(self) -> None:
        """Called in a forked child: leave the parent's locks alone."""
        self._held.clear()
        self._close_unused()

    def _open(self, flags: int = 0) -> None:
        if self._descriptor < 0:
            mode = files.mode(self._file.parent, *files.FILE)
            self._descriptor = os.open(self._file, flags | os.O_RDWR | os.O_CLOEXEC, mode)
            forget_in_child(self)

    def _close_unused(self) -> None:
        if self._descriptor >= 0 and not self._held:
            os.close(self._descriptor)
            self._descriptor = -1

    def _range(self) -> range:
        return range(_FIRST_SLOT, _FIRST_SLOT + (self._slots or 0))

    def _lock_slot(self) -> int | None:
        """Lock the byte of a free slot and return it; 0 if there is no limit of slots."""
        if self._slots is None:
            return 0
        slots = self._range()
        first = random.randrange(self._slots)  # noqa: S311  no secret; other processes most likely hold other slots
        order = (*slots[first:], *slots[:first])
        return next((slot for slot in order if slot not in self._held and self._lock(slot)), None)

    def _take_turn(self) -> float:
        if not self._interval_s:
            return 0.0
        if not self._lock(_TURN):
            return _pause_s(0.002)
        try:
            if not (wait_s := self._until_turn()):
                earliest = time.monotonic() - _LATE * self._interval_s
                os.pwrite(self._descriptor, _TIME.pack(max(self._next_at(), earliest) + self._interval_s), 0)
            return wait_s
        finally:
            self._unlock(_TURN)

    def _next_at(self) -> float:
        """The time of the next call. A time that no call can have set (the machine has restarted) counts as past."""
        stored = os.pread(self._descriptor, _TIME.size, 0)
        next_at: float = _TIME.unpack(stored)[0] if len(stored) == _TIME.size else 0.0
        return next_at if 0 <= next_at <= time.monotonic() + self._interval_s else 0.0

    def _until_turn(self) -> float:
        return max(0.0, self._next_at() - time.monotonic())

    def _lock(self, byte: int) -> bool:
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _lock_of(fcntl.F_WRLCK, byte))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(self, byte: int) -> None:
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _lock_of(fcntl.F_UNLCK, byte))

    def _is_free(self, slot: int) -> bool:
        found = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, _lock_of(fcntl.F_WRLCK, slot))
        kind: int = struct.unpack(_LOCK_FORMAT, found)[3 if sys.platform == "darwin" else 0]
        return kind == fcntl.F_UNLCK


def _lock_of(kind: int, byte: int) -> bytes:
    if sys.platform == "darwin":
        return struct.pack(_LOCK_FORMAT, byte, 1, 0, kind, os.SEEK_SET)
    return struct.pack(_LOCK_FORMAT, kind, os.SEEK_SET, byte, 1, 0)


def _pause_s(longest_s: float) -> float:
    return longest_s * random.uniform(0.5, 1.0)  # noqa: S311  not a secret

"""How long the commits of each process take, for metrics.

The writer counts them in memory. A process that serves or works publishes its counts in a file next to the ledger, which any
process can read: the file `LEDGER-owners/commits-serve-1` is locked by the first server, `commits-serve-2` by the second one,
and so on. The next process that gets a file continues its counts, so they do not fall after a restart.
"""

import itertools
import threading
from collections.abc import Iterator

import msgspec

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import LedgerBusy, LedgerError
from aorch.ledger.database import LockedState
from aorch.ledger.ledger import Ledger
from aorch.ledger.writer import COMMIT_BUCKETS_S

MOST_PROCESSES = 512
KINDS = ("serve", "worker")


class CommitDurations(msgspec.Struct):
    """The number of commits in each of COMMIT_BUCKETS_S and above, and the sum of their durations (seconds)."""

    counts: list[int]
    sum_s: float


_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(CommitDurations).decode


class PublishedCommits:
    """The file in which this process publishes its commits to `ledger`, as the next free process of that kind, until `close`.

    Raises LedgerError if the file cannot be written.
    """

    def __init__(self, ledger: Ledger, kind: str) -> None:
        self._ledger, self._kind, self._publishing = ledger, kind, threading.Lock()
        self._written = CommitDurations([0] * (len(COMMIT_BUCKETS_S) + 1), 0.0)
        self._open()
        self._write(*ledger.commits())

    def publish(self) -> None:
        """Write the counts, if there were commits since. Any thread may call this."""
        with self._publishing:
            counts, sum_s = self._ledger.commits()
            if counts == self._written.counts:
                return
            try:
                self._write(counts, sum_s)
            except LedgerBusy:  # another process took the file while this one had no connection to the server
                self._file.close()
                self._open()
                self._write(counts, sum_s)

    def _open(self) -> None:
        """Take the next free file. What this process has written before is in another one."""
        for number in range(1, MOST_PROCESSES + 1):
            try:
                self._file = LockedState(self._ledger.path, _name(self._kind, number))
                break
            except BlockingIOError:
                continue
        else:
            raise LedgerError(f"more than {MOST_PROCESSES} processes publish their metrics")
        found = _decoded(self._file.read()) or CommitDurations([0] * (len(COMMIT_BUCKETS_S) + 1), 0.0)
        before = [one - two for one, two in zip(found.counts, self._written.counts, strict=True)]
        self._before = CommitDurations(before, found.sum_s - self._written.sum_s)

    def _write(self, counts: list[int], sum_s: float) -> None:
        total = [one + two for one, two in zip(self._before.counts, counts, strict=True)]
        self._file.write(_encode(CommitDurations(total, self._before.sum_s + sum_s)))
        self._written = CommitDurations(counts, sum_s)

    def close(self) -> None:
        """Write the counts a last time, and leave the file to another process."""
        try:
            self.publish()
        finally:
            self._file.close()


def published(ledger: LedgerLocation) -> Iterator[tuple[str, CommitDurations]]:
    """The counts of each running process, by its name in metrics (`serve-1`)."""
    for kind in KINDS:
        for number in itertools.count(1):
            state, is_held = LockedState.peek(ledger, _name(kind, number))
            if not state and not is_held:
                break
            if is_held and (durations := _decoded(state)) is not None:
                yield f"{kind}-{number}", durations


def _name(kind: str, number: int) -> str:
    return f"owners/commits-{kind}-{number}"


def _decoded(state: bytes) -> CommitDurations | None:
    try:
        found = _decode(state)
    except msgspec.MsgspecError:
        return None
    return found if len(found.counts) == len(COMMIT_BUCKETS_S) + 1 else None

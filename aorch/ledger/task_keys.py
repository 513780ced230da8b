"""Unique keys that are committed with a REQUEST, so that a task does not run twice."""

import hashlib
from typing import NamedTuple

from aorch.ledger.database import statements
from aorch.ledger.writer import Statement

ERASED = "erased:"
"""How the key of a line begins after its exchange was erased."""


class CallerKey(NamedTuple):
    """The Idempotency-Key of `caller` (the id of a token; empty without one) and the SHA-256 (hex) of the request body."""

    caller: str
    key: str
    fingerprint: str

    def inserts(self, request_id: str) -> list[Statement]:
        """The statements that use this key for a REQUEST."""
        return [(statements.INSERT_KEY, (*self, request_id))]

    @property
    def conflict(self) -> str:
        """The error message if the key has been used."""
        return f"the idempotency key {self.key!r} has been used already"


class BatchLineKey(NamedTuple):
    """A line of one generation of a batch."""

    generation: str
    line_key: str

    def inserts(self, request_id: str) -> list[Statement]:
        """The statements that use this key for a REQUEST."""
        return [(statements.INSERT_BATCH_LINE, (*self, request_id))]

    @property
    def conflict(self) -> str:
        """The error message if the key has been used."""
        return f"another process has started the line {self.line_key!r} of this batch"


class RetryKey(NamedTuple):
    """The REQUEST that the new one retries or resumes."""

    contract_id: str

    def inserts(self, request_id: str) -> list[Statement]:
        """The statements that use this key for a REQUEST."""
        return [(statements.INSERT_RETRY, (self.contract_id, request_id))]

    @property
    def conflict(self) -> str:
        """The error message if the key has been used."""
        return f"{self.contract_id} has been retried already"


class SentKey(NamedTuple):
    """The Idempotency-Key with which a caller sent a line of a batch, or a retry: two keys for one REQUEST."""

    caller: CallerKey
    task: BatchLineKey | RetryKey

    def inserts(self, request_id: str) -> list[Statement]:
        """The statements that use both keys for a REQUEST."""
        return [*self.caller.inserts(request_id), *self.task.inserts(request_id)]

    @property
    def conflict(self) -> str:
        """The error message if one of the keys has been used."""
        return self.task.conflict


TaskKey = CallerKey | BatchLineKey | RetryKey | SentKey


def erased_line_key(generation: str, line_key: str) -> str:
    """The key of a line of a batch after the erasure of its exchange: the line is recognised, but not readable."""
    digest = hashlib.sha256(f"{generation} {line_key}".encode()).hexdigest()
    return f"{ERASED}{digest}"

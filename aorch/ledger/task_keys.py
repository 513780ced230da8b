"""Unique keys that are committed with a REQUEST, so that a task does not run twice."""

from typing import NamedTuple

from aorch.ledger.database import statements
from aorch.ledger.writer import Statement


class CallerKey(NamedTuple):
    """The Idempotency-Key of `caller` (the id of a token; empty without one) and the SHA-256 (hex) of the request body."""

    caller: str
    key: str
    fingerprint: str

    def insert(self, request_id: str) -> Statement:
        """The statement that uses this key for a REQUEST."""
        return statements.INSERT_KEY, (*self, request_id)

    @property
    def conflict(self) -> str:
        """The error message if the key has been used."""
        return f"the idempotency key {self.key!r} has been used already"


class BatchLineKey(NamedTuple):
    """A line of one generation of a batch."""

    generation: str
    line_key: str

    def insert(self, request_id: str) -> Statement:
        """The statement that uses this key for a REQUEST."""
        return statements.INSERT_BATCH_LINE, (*self, request_id)

    @property
    def conflict(self) -> str:
        """The error message if the key has been used."""
        return f"another process has started the line {self.line_key!r} of this batch"


class RetryKey(NamedTuple):
    """The REQUEST that the new one retries or resumes."""

    contract_id: str

    def insert(self, request_id: str) -> Statement:
        """The statement that uses this key for a REQUEST."""
        return statements.INSERT_RETRY, (self.contract_id, request_id)

    @property
    def conflict(self) -> str:
        """The error message if the key has been used."""
        return f"{self.contract_id} has been retried already"


TaskKey = CallerKey | BatchLineKey | RetryKey

"""A REQUEST that is put into the queue."""

from typing import NamedTuple

from aorch.ledger.database import statements
from aorch.ledger.record import Record
from aorch.ledger.writer import Statement


class Entry(NamedTuple):
    """A pending REQUEST for the queue. It may be claimed from `due_at` on (RFC 3339; None: at once). `webhook` is the
    URL that is notified when the task ends; `required_labels` are as in `required_labels.py`.
    """

    request: Record
    priority: int
    due_at: str | None = None
    expires_at: str | None = None
    webhook: str | None = None
    required_labels: str | None = None

    def statements(self) -> list[Statement]:
        """The statements that insert the REQUEST and its webhook."""
        entry: list[Statement] = [
            (statements.ENQUEUE, (*self.request, self.priority, self.due_at, self.expires_at, self.required_labels)),
        ]
        if self.webhook is not None:
            entry.append((statements.INSERT_WEBHOOK, (self.request.contract_id, self.webhook)))
        return entry

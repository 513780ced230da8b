"""One line of a batch."""

from dataclasses import dataclass

from aorch.engine.task import Task
from aorch.errors import AorchError
from aorch.ledger import priorities
from aorch.ledger.batch_register import PriorResult


@dataclass(slots=True)
class Line:
    """A task, or the error that makes the line invalid (`refusal`).

    `line_id` is the `id` field of the line (default: its number). `size` is in bytes. A later run of the batch recognises the
    line by `key`; an empty key means that the batch cannot be resumed. `past` is the result of the line in an earlier run.
    """

    number: int
    line_id: str | int
    size: int
    task: Task | None = None
    refusal: AorchError | None = None
    priority: int = priorities.DEFAULT
    key: str = ""
    past: PriorResult | None = None

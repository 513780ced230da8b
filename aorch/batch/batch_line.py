"""One line of a batch."""

from dataclasses import dataclass

from aorch.engine.task import Task
from aorch.errors import AorchError
from aorch.ledger import priorities
from aorch.ledger.batch_register import PriorResult


@dataclass(slots=True)
class Line:
    """A task, or why it is none (`refusal`).

    `line_id` is the line's own id, else its number; `size` its bytes; `key` what another run of the batch knows it by
    (empty: nobody does); `past` what came of it there.
    """

    number: int
    line_id: str | int
    size: int
    task: Task | None = None
    refusal: AorchError | None = None
    priority: int = priorities.DEFAULT
    key: str = ""
    past: PriorResult | None = None

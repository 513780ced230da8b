"""One exchange in full: both contracts, the attempts, and the exchanges that its agent delegated."""

from dataclasses import dataclass
from typing import Any

from aorch.errors import NotFound
from aorch.ledger.attempt import Attempt
from aorch.ledger.exchanges import ExchangeFilter, ExchangeRow
from aorch.ledger.reader import Reader
from aorch.ledger.record import REQUEST, Record
from aorch.ledger.tree import TreeNode


@dataclass(frozen=True, slots=True)
class WholeExchange:
    """An exchange. `attempts` is empty if one call was enough. `children` are the first delegated REQUESTs, and `omitted` the
    number of the others, by status.
    """

    row: ExchangeRow
    request: Record
    response: Record | None
    attempts: list[Attempt]
    children: list[TreeNode]
    omitted: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "exchange": self.row.as_dict(),
            "request": self.request.as_dict(),
            "response": self.response and self.response.as_dict(),
            "attempts": [attempt.as_dict() for attempt in self.attempts],
            "children": [child.as_dict() for child in self.children],
        }


def whole_exchange(reader: Reader, contract_id: str) -> WholeExchange:
    """The exchange of the REQUEST or RESPONSE with exactly that id.

    Raises NotFound, also for a RESPONSE whose REQUEST is not in the ledger.
    """
    contract, other = reader.with_counterpart(contract_id)
    request, response = (contract, other) if contract.contract_type == REQUEST else (other, contract)
    if request is None:
        raise NotFound(
            f"the REQUEST that {contract_id} answers is not in the ledger",
            f"`aorch contracts show {contract_id}` shows the RESPONSE.",
        )
    ((_, row),), _ = reader.exchanges(ExchangeFilter(ids=[request.contract_id]), limit=1)
    node = _asked_for(reader.tree(request))
    attempts = reader.attempts([request.contract_id]).get(request.contract_id, [])
    return WholeExchange(row, request, response, attempts, node.children, node.omitted)


def _asked_for(root: TreeNode) -> TreeNode:
    """The node for which the tree was built: above it, the tree is a chain."""
    while not root.asked_for:
        (root,) = root.children
    return root

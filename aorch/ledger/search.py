"""Full-text search and the count of contracts, which each database implements differently."""

from aorch.ledger.sqlite.fulltext import Progress, Statement, catch_up, narrowed
from aorch.ledger.sqlite.selects import contract_count

__all__ = ["Progress", "Statement", "catch_up", "contract_count", "narrowed"]

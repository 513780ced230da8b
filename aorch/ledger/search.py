"""Full-text search and the count of contracts, which each database does in its own way."""

from aorch.ledger.sqlite.fulltext import Progress, Statement, catch_up, narrowed
from aorch.ledger.sqlite.selects import contract_count

__all__ = ["Progress", "Statement", "catch_up", "contract_count", "narrowed"]

"""Full-text search in the ledger, as its database does it."""

from aorch.ledger.sqlite.fulltext import Progress, Statement, catch_up, narrowed

__all__ = ["Progress", "Statement", "catch_up", "narrowed"]

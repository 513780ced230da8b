"""Full-text search, which each database implements differently."""

from aorch.ledger.sqlite.fulltext import Progress, catch_up, narrowed

__all__ = ["Progress", "catch_up", "narrowed"]

"""Composes the select of a page of contracts from generated pieces of SQL (queries/reading_queries.py)."""

from typing import Any, NamedTuple

from aorch.ledger.composed import Composed
from aorch.ledger.database import statements


class PageKey(NamedTuple):
    """The column that a page is ordered by and that its cursor is compared with: two conditions and two orders."""

    before: str = statements.BEFORE_POSITION
    after: str = statements.AFTER_POSITION
    oldest_first: str = statements.OLDEST_FIRST
    newest_first: str = statements.NEWEST_FIRST


class Selection(NamedTuple):
    """A select of contracts: what is selected from where, and conditions with the values of their parameters, in order."""

    select: str
    conditions: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    key: PageKey = PageKey()

    def where(self, condition: str, *values: Any) -> "Selection":
        """The same select with one more condition."""
        return self._replace(conditions=(*self.conditions, condition), values=(*self.values, *values))

    def unordered(self) -> tuple[Composed, tuple[Any, ...]]:
        """The SQL and the values of its parameters, for a count."""
        where = [piece for condition in self.conditions for piece in (" AND (", condition, ")")]
        if where:
            where[0] = " WHERE ("
        return Composed(self.select, *where), self.values

    def page(
        self,
        *,
        before: int | None = None,
        after: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> tuple[Composed, tuple[Any, ...]]:
        """The SQL and the values of its parameters, for rows in order, before and after a position, both exclusive."""
        bounded = self if before is None else self.where(self.key.before, before)
        bounded = bounded if after is None else bounded.where(self.key.after, after)
        sql, values = bounded.unordered()
        ordered = Composed(sql, " ORDER BY ", self.key.newest_first if newest_first else self.key.oldest_first)
        return (ordered, values) if limit is None else (Composed(ordered, " ", statements.LIMIT), (*values, limit))

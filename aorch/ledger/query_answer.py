"""What the queries of a user answer, and how they are refused, on every database."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aorch.errors import UsageError


class Answer(NamedTuple):
    """The columns of a query, whose names differ, and its rows, which are read when they are needed."""

    columns: Sequence[str]
    rows: Iterator[tuple[Any, ...]]


def first_word(sql: str) -> str:
    """The first keyword of a statement, after comments; empty if there is none."""
    found = re.match(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$)|;)*(\S*?)(?=[\s(;]|$)", sql, re.DOTALL)
    return found[1].upper() if found else ""


def refusal(action: str) -> UsageError:
    """The error for a statement that does not only read."""
    return UsageError(
        f"aorch query only reads the ledger, and cannot execute {action}",
        "Write a SELECT. To remove content, use `aorch contracts erase` or `aorch ledger prune`.",
    )


def invalid(error: object) -> UsageError:
    """The error for SQL that the database rejects."""
    if re.search("one statement|multiple commands", str(error)):
        return UsageError(
            "aorch query executes one statement at a time", "Give one SELECT, without a semicolon inside."
        )
    return UsageError(
        f"invalid SQL: {error}",
        "The views are exchanges, sessions, agent_latency and attempts_by_agent; `aorch help --docs ledger` describes them.",
    )


def distinct(names: Sequence[str]) -> list[str]:
    """The names of columns; one that occurs again gets a number."""
    found: list[str] = []
    for name in names:
        number, distinct = 2, name
        while distinct in found:
            distinct, number = f"{name}_{number}", number + 1
        found.append(distinct)
    return found

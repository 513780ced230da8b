"""Suggestions for a misspelt name."""

from collections.abc import Iterable

LONGEST = 100
"""Maximum length of a name for which similar names are searched: the time grows with the square of the length."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`Did you mean NAME or NAME? ` with up to three similar names; empty if there is none."""
    import difflib  # noqa: PLC0415  4 ms, only for a misspelt name

    similar = difflib.get_close_matches(name, known, n=3, cutoff=0.5) if len(name) <= LONGEST else []
    return f"Did you mean {' or '.join(similar)}? " if similar else ""

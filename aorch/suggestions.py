"""Suggestions for a misspelt name."""

from collections.abc import Iterable

LONGEST = 100
"""Maximum length of a name for which similar names are searched: the time grows with the square of the length."""


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """`Did you mean NAME or NAME? ` with up to `most` similar names; empty if there is none. Dashes in front are not compared."""
    import difflib  # noqa: PLC0415  4 ms, only for a misspelt name

    names = {each.lstrip("-"): each for each in known}
    close = difflib.get_close_matches(name.lstrip("-"), names, n=most) if len(name) <= LONGEST else []
    similar = [names[each] for each in close]
    return f"Did you mean {' or '.join(similar)}? " if similar else ""

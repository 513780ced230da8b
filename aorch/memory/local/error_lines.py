"""Finds the lines of an error message that describe what happened."""

import re

from aorch.memory import safe_text

_EXCEPTION = re.compile(
    r"(?<![\w.])([\w.]{0,80}(?:Error|Exception|Exit|Interrupt|Failure|Fault|Timeout|Panic))(?=: ?\S|$)", re.ASCII
)
_TRACEBACK = "Traceback (most recent call last):"
_ANY_CLASS = re.compile(r"((?:\w{1,40}\.){0,8}[A-Z]\w{2,60}): \S")
_EXIT_CODE = re.compile(r"\W{0,5}exit ?(?:code|status)", re.IGNORECASE)
_TROUBLE = re.compile(
    r"(?<![\w-])(?:errors?|fail\w{0,4}|fatal|panic\w{0,3}|denied|refused|rejected|not found|no such|cannot|can't|unable|invalid|"
    r"missing|timed out|timeout|exceeded|forbidden|unauthori[sz]ed|conflict|killed|aborted|unreachable|out of)(?![\w-])",
    re.IGNORECASE,
)


def telling_lines(error: str) -> list[tuple[str, ...]]:
    """One or two lines of `error` that describe what happened: the first and the last one of chained exceptions.

    A line is a tuple of exact pieces between escape sequences. The list is empty if the error is empty.
    """
    rows = list(safe_text.rows(error))
    lines = [" ".join(pieces)[:400] for pieces in rows]
    traced = any(line.endswith(_TRACEBACK) for line in lines)
    named = [(found, n) for n, line in enumerate(lines) if (found := _name(line, traced))]
    told = [n for name, n in named if not lines[n].endswith(name)] or [n for _, n in named]
    if told:
        return [rows[n] for n in ((told[-1],) if lines[told[0]] == lines[told[-1]] else (told[0], told[-1]))]
    troubled = [n for n, line in enumerate(lines) if _TROUBLE.search(line)]
    first = next((n for n in troubled if not _EXIT_CODE.match(lines[n])), troubled[0] if troubled else 0)
    return rows[first : first + 1]


def _name(line: str, traced: bool) -> str:
    """The exception in `line`. In a Python traceback it may have any name."""
    found = _EXCEPTION.search(line) or (_ANY_CLASS.match(line) if traced else None)
    return found[1] if found else ""

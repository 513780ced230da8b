"""Reads differences of files in the unified format, as `git diff` prints them."""

import re

from aorch.memory import safe_text

_MOST_READ, _MOST_LINES, _WIDEST = 20_000, 24, 200
"""Characters of a text and lines of its differences that are read, and characters of such a line."""
_HUNK = "\n@@ "
_TELLING = re.compile(r"\w.*\w")


def changed_lines(text: str) -> tuple[str, ...]:
    """The name of each file in the differences that `text` contains, and after it the lines that are new in the file. If none is
    new: those that are gone. Empty if `text` contains no differences.
    """
    if _HUNK not in text:
        return ()
    files: list[tuple[str, list[str], list[str]]] = []
    for line in text[:_MOST_READ].split("\n"):
        mark, told = line[:1], line[1:].strip()
        if line.startswith(("+++ ", "--- ")):
            if (name := safe_text.first_line(line[4:].partition("\t")[0])) == "/dev/null":
                continue
            name = name[2:] if name.startswith(("a/", "b/")) else name
            if not files or files[-1][0] != name:
                files.append((name, [], []))
        elif files and mark in ("+", "-") and _TELLING.search(told) and told.isprintable():
            _, new, gone = files[-1]
            (new if mark == "+" else gone).append(safe_text.clip(told, _WIDEST))
    return tuple([part for name, new, gone in files for part in (name, *(new or gone))][:_MOST_LINES])

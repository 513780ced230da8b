"""Reads differences of files in the unified format, as `git diff` prints them."""

import re

from aorch.memory import safe_text

_MOST_READ = 20_000
"""Characters of a text that are read."""
MOST_CHANGED, WIDEST_CHANGED = 24, 200
"""Lines that are kept of a change of files, and characters of one."""
_HUNK = "\n@@ "
_FILE = re.compile(r"^--- (.*)\n\+\+\+ (.*)\n(?=@@ )", re.MULTILINE)
"""The names of a file before and after its change. A line that is gone can begin with `---` too, such as a comment in SQL."""
TELLING = re.compile(r"\w.*\w")


def changed_lines(text: str) -> tuple[str, ...]:
    """The name of each file in the differences that `text` contains, and after it the lines that are new in the file. If none is
    new: those that are gone. Empty if `text` contains no differences.
    """
    if text.startswith(_HUNK[1:]):  # an editor gives the path as another argument
        told = _told(text[:_MOST_READ])
    elif _HUNK in text:
        parts = _FILE.split(text[:_MOST_READ])
        files = zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
        told = [part for before, after, hunks in files for part in (_name(after) or _name(before), *_told(hunks))]
    else:
        return ()
    return tuple([part for part in told if part][:MOST_CHANGED])


def _name(header: str) -> str:
    name = safe_text.first_line(header.partition("\t")[0])
    return "" if name == "/dev/null" else name[2:] if name.startswith(("a/", "b/")) else name


def _told(hunks: str) -> list[str]:
    """The new lines of a file, or those that are gone if none is new."""
    lines: dict[str, list[str]] = {"+": [], "-": []}
    for line in hunks.split("\n"):
        mark, told = line[:1], line[1:].strip()
        if mark in lines and TELLING.search(told) and told.isprintable():
            lines[mark].append(safe_text.clip(told, WIDEST_CHANGED))
    return lines["+"] or lines["-"]

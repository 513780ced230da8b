"""Finds the lines of an error message that describe what happened."""

import errno
import os
import re
from collections.abc import Iterator, Sequence

from aorch.memory import contract_content, safe_text

LONGEST_ERROR = 400
"""Characters that are kept of a line of an error."""

_EXCEPTION = re.compile(
    r"(?<![\w.])([\w.]{0,80}(?:Error|Exception|Exit|Interrupt|Failure|Fault|Timeout|Panic))(?=: ?\S|$)", re.ASCII
)
_TRACEBACK = "Traceback (most recent call last):"
_ANY_CLASS = re.compile(r"((?:\w{1,40}\.){0,8}[A-Z]\w{2,60}): \S")
_EXIT_CODE = re.compile(r"\W{0,5}(?:exit|return) ?(?:code|status)", re.IGNORECASE)
_EXITED = re.compile(r"(?:exit|return) ?(?:code|status)\W{1,3}[1-9]", re.IGNORECASE)
_RAISED = re.compile(
    r"^[ \t]{0,8}(?:[-*] |collecting \.\.\. )?"  # the mark of a list, the progress of pytest
    r"(?:[A-Z]{1,3}\d{2,5}:? |E {2,8})?"  # the code of a linter, the mark of pytest
    r"((?:[\w.]{0,80}(?:Error|Exception|Failure|Panic)|error(?:\[\w{1,20}\])?|ERROR|fatal|panic): \S[^\n]*)",
    re.ASCII | re.MULTILINE,
)
_BEFORE_RAISED = ("rror: ", "ERROR: ", "rror[", "Exception: ", _TRACEBACK, "fatal: ")
"""What a text contains in which _RAISED can find something: most texts have none of it."""
_OF_SYSTEM = frozenset(map(os.strerror, errno.errorcode)) | {"command not found", "not found", "No such file"}
"""What the system says of a failed call (errno(3)), and a shell of a program: a line that reports it ends with it."""
_OF_PROGRAM = re.compile(r"\W{0,4}stderr\W{1,4}\w")
"""What a line begins with that quotes the errors of a program, after the one that only says that it failed."""
_SYSTEM_LINES = 20
"""Lines at the start and at the end of an output that can report an error of the system."""
_ONE_LINE = 200
"""Characters of a whole output that can be a single report of trouble."""
_NO_TROUBLE = re.compile(
    r"\b(?:no|not any|without|zero|0) (?:\w{1,20} )?(?:errors?|fail\w{0,4}|problems?)\b", re.IGNORECASE
)
_MOST_READ = 100_000
"""Characters of an output that are searched for an error."""
_TROUBLE = re.compile(
    r"(?<![\w-])(?:errors?|fail\w{0,4}|fatal|panic\w{0,3}|assert\w{0,4}|could ?n[o'’]t|could not|denied|"
    r"does ?n[o']t exist|duplicate\w?|violates|refused|rejected|not found|no such|cannot|can't|unable|invalid|"
    r"malformed|illegal|unrecogni[sz]ed|unsupported|not supported|"
    r"missing|timed out|timeout|exceeded|forbidden|unauthori[sz]ed|conflict|killed|aborted|unreachable|out of)(?![\w-])",
    re.IGNORECASE,
)


_CAUSE = re.compile(r"\bpanick?ed\b|^(?:E  |(?:remote: )?(?:error|fatal)\b)|assertion\b.{0,80}\bfailed", re.IGNORECASE)
"""What a line begins with or contains if it names the cause, and not only that something failed. Git reports what the other
side says after `remote:`.
"""
_NAMED_TWICE = re.compile(r"\A(?:\w{1,40}\.){0,8}(\w{3,60}): (?=\1: \S)")
_PART = r"[\\/]{1,2}[\w.@~+-]{1,80}(?: [\w.@~+-]{1,40}(?=[\\/]))?"
_LONG_PATH = re.compile(rf"(?:[A-Za-z]:)?(?:{_PART}){{2,30}}?((?:{_PART}){{2}})(?![\\/\w.@~+-])")
_LONGEST_PATH = 40
"""Characters of a path whose start is left out of a brief text."""
_PLACE = re.compile(r"\d:$")
"""How a line ends that names a place in code, and announces what happened there."""
_LONG_LINE = 160
"""Characters from which the body of a response hides the message in it."""
_MESSAGE = re.compile(r"[\"'](?:message|detail|error_description|reason|title)[\"']: ?([\"'])((?:(?!\1).){12,})")


def telling_lines(error: str) -> list[tuple[str, ...]]:
    """One or two lines of `error` that describe what happened: the first and the last one of several.

    A line is a tuple of exact pieces between escape sequences. The list is empty if the error is empty.
    """
    rows = list(safe_text.rows(error))
    lines = [" ".join(pieces)[:LONGEST_ERROR] for pieces in rows]
    traced = any(line.endswith(_TRACEBACK) for line in lines)
    named = [(found, n) for n, line in enumerate(lines) if (found := _name(line, traced))]
    told = [n for name, n in named if not lines[n].endswith(name)] or [n for _, n in named]
    if told:
        return [rows[n] for n in ((told[-1],) if lines[told[0]] == lines[told[-1]] else (told[0], told[-1]))]
    troubled = [n for n, line in enumerate(lines) if _CAUSE.search(line)] or [
        n for n, line in enumerate(lines) if _TROUBLE.search(line)
    ]
    first = next((n for n in troubled if not _EXIT_CODE.match(lines[n])), troubled[0] if troubled else 0)
    last = next((n for n, line in enumerate(lines) if _OF_PROGRAM.match(line)), -1)
    if last < 0:
        last = next(
            (n for n in reversed(troubled) if not _EXIT_CODE.match(lines[n])), len(rows) - 1 if troubled else first
        )
    if rows and lines[last] in lines[first]:
        last = first
    return list(dict.fromkeys(_with_next(rows, n) for n in (first, last))) if rows else []


def cause_of(line: Sequence[str]) -> Sequence[str]:
    """The pieces of a line from `telling_lines` that name the cause: those after `panicked at main.rs:3:`."""
    return line[next((n + 1 for n, piece in enumerate(line[:-1]) if _PLACE.search(piece)), 0) :]


def without_known(line: Sequence[str]) -> list[str]:
    """The pieces of a line without the repeated name of an exception (`db.Timeout: Timeout: no answer`) and the start of each
    long path.
    """
    return [part for piece in line for part in _shorter_paths(_NAMED_TWICE.sub("", piece, count=1))]


def _shorter_paths(piece: str) -> Iterator[str]:
    start = 0
    for path in _LONG_PATH.finditer(piece):
        if path.end() - path.start() >= _LONGEST_PATH:
            if before := piece[start : path.start()].strip():
                yield before
            start = path.start(1)
    yield piece[start:]


def without_body(line: str) -> tuple[str, ...]:
    """An error that ends with the body of a response in JSON or the like, as its start and the message in the body; otherwise the
    whole line.
    """
    start, brace, body = line.partition("{")
    message = _MESSAGE.search(body) if brace and len(line) > _LONG_LINE else None
    return (start.rstrip(), message[2]) if message and start.strip() else (line,)


def _with_next(rows: list[tuple[str, ...]], n: int) -> tuple[str, ...]:
    """A line, with the next one if it announces that: `panicked at main.rs:3:`."""
    return rows[n] + rows[n + 1] if rows[n][-1].endswith(":") and n + 1 < len(rows) else rows[n]


def reported_error(output: str) -> str:
    """The line of `output` that names an error: the last exception of a traceback, or the last line that begins with one or
    with `error:`. Empty if there is none.

    Without either, an output that states an exit code other than 0 gives its last line of trouble.
    """
    read = output[:_MOST_READ]
    if any(map(read.__contains__, _BEFORE_RAISED)):
        raised = _RAISED.findall(read)
        if raised and (exact := safe_text.first_line(raised[-1].rstrip())):
            return safe_text.clip(exact, LONGEST_ERROR)
    if of_system := _of_system(read):
        return of_system
    beginning = read[:200].lower()
    if ("exit" in beginning or "return" in beginning) and _EXITED.search(beginning):
        lines = telling_lines(output)
        trouble = lines[-1][-1] if lines and _TROUBLE.search(" ".join(lines[-1])) else ""
        return "" if contract_content.is_code(trouble) else trouble
    return ""


def _of_system(output: str) -> str:
    """The last line that ends with an error of the system: `cat: notes.txt: No such file or directory`."""
    if ": " not in output:
        return ""
    lines = output.split("\n")
    near = lines if len(lines) <= 2 * _SYSTEM_LINES else [*lines[:_SYSTEM_LINES], *lines[-_SYSTEM_LINES:]]
    told = [line.rstrip().rpartition(": ")[2] for line in near]
    if _OF_SYSTEM.isdisjoint(told):  # most of them
        return ""
    found = next(line for line, end in zip(reversed(near), reversed(told), strict=True) if end in _OF_SYSTEM)
    return safe_text.clip(safe_text.first_line(found), LONGEST_ERROR)


def reported_in(outputs: Sequence[str], *, of_command: bool = False) -> str:
    """The line of the texts in a successful result that names an error. An output of a command may also be a single line of
    trouble.
    """
    if error := next(filter(None, map(reported_error, outputs)), ""):
        return error
    return _trouble(outputs[0]) if of_command and len(outputs) == 1 else ""


def _trouble(output: str) -> str:
    """`output` if it is one line that says what went wrong."""
    bare = output.strip()
    if len(bare) > _ONE_LINE or "\n" in bare or not _TROUBLE.search(bare) or _NO_TROUBLE.search(bare):
        return ""
    return safe_text.first_line(bare)


def names_trouble(sentence: str) -> bool:
    """Whether a sentence has a word for trouble: `fails`, `cannot`, `missing`."""
    return bool(_TROUBLE.search(sentence))


def names_error(sentence: str) -> bool:
    """Whether a sentence contains an exception and what happened."""
    return (
        ": " in sentence
        and any(kind in sentence for kind in ("Error", "Exception"))
        and bool(_EXCEPTION.search(sentence))
    )


def _name(line: str, traced: bool) -> str:
    """The exception in `line`. In a Python traceback it may have any name."""
    found = _EXCEPTION.search(line) or (_ANY_CLASS.match(line) if traced else None)
    return found[1] if found else ""

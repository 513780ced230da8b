"""Code that one agent writes and another one runs: its telling lines, and what it printed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aorch.memory import request_prompts, safe_text
from aorch.memory.contract_content import is_data
from aorch.memory.local.sentence_kinds import is_protocol

_LINES, _LINES_WIDTH, LINE = 5, 320, 140
"""The most lines of code that are shown, their characters together, and those of one line."""
_TELLING, _LEAST = 1.5, 0.5
"""The score from which a line of code tells something of the task, and the least one of the only line that is shown."""
_READ = 400
"""Characters of a line of code that are read: patterns take quadratic time for a very long one."""
_NEAR = 3
"""Answers of other agents that can stand between code and its output, such as the plan of a manager."""
_OUTPUT = 600
"""Characters of an output that is shown by its lines; of a longer one, sentences are shown."""
_MOST_RUNS, _MOST_SEEN = 60, 20_000
"""Bounds of memory: runs, and lines by which repetitions are recognised."""
_HEADINGS = 2
"""Lines at the start of an output that say how the run ended, each as a label with a value."""

_NO_NEWS = re.compile(
    r"#|//|--|/?\*|<!|(?:import|using|package|def|async def|class|function|return|raise|throw|else|try|except|finally)\b"
    r"|from \S+ import|print|console\.|log\w{0,5}\.|(?:pass|break|continue)$"
)
"""How a line begins that is a comment, an import, a heading of a function, a message or a keyword."""
_ADDRESS_OR_PLACEHOLDER = re.compile(r"\w://|(?i:\byour[_ -]\w|\bexample\.(?:com|org|net)\b|/path/to/|<[A-Z_]{4,}>)")
_WORDS = re.compile(r"(?<!: )(?<!\{)[\"'][^\"'\n{]+\w (?:\W )?\w[^\"'\n]*(?<![.!])[\"'](?!:)")
"""A text of several words, such as a query, but no message, which is a sentence."""
_FILE = re.compile(r"[\"'][^\"'\s]{0,120}[\w)]\.[a-z]\w{1,4}[\"']|> ?\w[\w./-]*\.\w{2,4}$")
_VALUES = re.compile(r"= \[+ ?[\d\"']")
_CONSTANT = re.compile(r"\w+ = [\"'][^\"'\n]{2,60}[\"']$")
_NAMED_ARGUMENT = re.compile(r"[(,] ?[a-z]\w*=[^=\s]")
_CONDITION_OR_COLUMNS = re.compile(r"[\"'] (?:not )?in \w|(?:[=!]=|[<>]=?) ?[\"'\d]|\[\[?[\"']")
_CALL_WITH_VALUE = re.compile(r"\w\([\"'\d](?!.*[.!][\"'])")
_USED_CALL = re.compile(r" = [^\s(]{0,40}\w\(")
_SCORES = (
    (5.0, _ADDRESS_OR_PLACEHOLDER), (2.5, _WORDS), (2.0, _FILE), (2.0, _VALUES), (1.5, _CONSTANT), (1.5, _NAMED_ARGUMENT),
    (1.5, _CONDITION_OR_COLUMNS), (1.5, _CALL_WITH_VALUE), (0.5, _USED_CALL),
)  # fmt: skip
"""What a line of code has that tells something of the task, the most telling first."""
_LABELLED = re.compile(r"[^\W\d_][\w ()-]{0,24}: ?(?:\S.{0,80})?$|[^\W\d_][\w ]{0,24}: {2,}\S")
_SENTENCE = re.compile(r"[.!?。！？]$")


class Output(NamedTuple):
    """What code printed: the answer of the agent that ran it."""

    contract_id: str
    number: int
    agent: str
    lines: Sequence[str]


@dataclass
class CodeRun:
    """Code in an answer, as its lines that can tell something.

    `place`: the place of the last sentence before the code. `after`: the sentences after it. `comments`: its comments that the
    prose has instead of it. `lines` are shown, of which `best` tells most. `closing`: what the code is for, if it was not run.
    """

    contract_id: str
    number: int
    agent: str
    written: Sequence[str]
    place: int
    after: Sequence[str]
    comments: Sequence[str]
    lines: Sequence[str] = ()
    best: str = ""
    closing: str = ""
    output: Output | None = None


@dataclass
class CodeRuns:
    """The code that agents ran, oldest first (`ended`), and the code that was written last and not run yet."""

    ended: list[CodeRun] = field(default_factory=list)
    _waiting: CodeRun | None = None
    _answers_since: int = 0
    _seen: set[int] = field(default_factory=set)
    _printed: set[int] = field(default_factory=set)

    def add_code(self, code: CodeRun) -> None:
        """Add code that an agent wrote."""
        self._waiting, self._answers_since = code, 0

    def pass_over(self) -> None:
        """Count an answer that is neither code nor the output of code."""
        self._answers_since += 1
        if self._answers_since > _NEAR:
            self._waiting = None

    def add_failure(self, agent: str) -> None:
        """Note that a call of `agent` failed: if another agent wrote code before, that was run."""
        if self._waiting is not None and self._waiting.agent != agent:
            self._end_run(self._waiting)

    def add_output(self, agent: str, contract_id: str, number: int, text: str) -> bool:
        """Add an answer of `agent` if it is the output of the code that was written last. Return whether all of it is kept."""
        code = self._waiting
        if code is None or code.agent == agent or not _is_output(text):
            return False
        self._end_run(code)
        if len(text) > _OUTPUT:
            return False
        lines = _without_headings(list(safe_text.lines(text)))
        new = [line for line in lines if hash(line) not in self._printed]
        if len(self._printed) < _MOST_SEEN:
            self._printed.update(map(hash, lines[:_HEADINGS]))
        is_news = not all(line.endswith((":", "：")) for line in new)
        code.output = Output(contract_id, number, agent, new if is_news else lines)
        return True

    def end(self) -> None:
        """End the session. If it ends with code, and earlier code was run, that is kept too."""
        last = self._waiting
        if last is not None and not self._answers_since and self.ended:
            self._choose_lines(last)
            last.closing = last.after[-1] if last.after else ""
            self.ended.append(last)

    def _end_run(self, code: CodeRun) -> None:
        self._choose_lines(code)
        if len(self._seen) < _MOST_SEEN:
            self._seen.update(map(hash, code.written))
        code.written = ()
        self.ended.append(code)
        del self.ended[:-_MOST_RUNS]
        self._waiting = None

    def _choose_lines(self, code: CodeRun) -> None:
        """Choose the most telling lines that no code that was run earlier had."""
        new = [(_score(line), -n, line) for n, line in enumerate(code.written) if hash(line) not in self._seen]
        room = _LINES_WIDTH
        kept: list[tuple[int, str]] = []
        for score, n, line in sorted(new, reverse=True)[:_LINES]:
            room -= min(len(line), LINE)
            if room >= 0 and score >= (_TELLING if kept else _LEAST):
                kept.append((-n, line))
        code.best = kept[0][1] if kept else ""
        code.lines = [line for _, line in sorted(kept)]


def _is_output(text: str) -> bool:
    """Whether an answer is what a program printed: labels with values, a table or a listing, and nothing that is said."""
    lines = [line.rstrip() for line in text[: safe_text.HEAD].split("\n") if line.strip()]
    if not lines or "```" in text[: safe_text.HEAD]:
        return False
    if len(lines) > 1 and all(map(_LABELLED.match, lines[:_HEADINGS])):
        return True
    return is_data(text) and not any(map(_SENTENCE.search, lines))


def _without_headings(lines: list[str]) -> list[str]:
    """The lines of an output after headings such as `exitcode: 0 (execution succeeded)`, if there are any after them."""
    headings = 0
    for line in lines[:_HEADINGS]:
        headings += is_protocol(line) or line.endswith((":", "："))
    return lines[headings:] or lines


def code_in(said: str, contract_id: str, number: int, agent: str, aim: str) -> CodeRun | None:
    """The code in an answer; None if no line of it tells anything that the aim does not say."""
    before, blocks, after = request_prompts.fenced_code(said)
    written = [line for block, _ in blocks for line in _telling(block) if line not in aim]
    if not any(_score(line) >= _LEAST for line in written):
        return None
    comments = [safe_text.without_marking(told) for _, told in blocks if told]
    place = safe_text.sentence_count(before)
    return CodeRun(contract_id, number, agent, written, place, safe_text.sentences(after), comments)


def _telling(block: str) -> Iterator[str]:
    """The lines of a block of code that can tell something."""
    return (line for line in dict.fromkeys(safe_text.lines(block)) if not _NO_NEWS.match(line))


def _score(line: str) -> float:
    """How much a line of code tells of the task."""
    return sum(worth for worth, form in _SCORES if form.search(line[:_READ]))

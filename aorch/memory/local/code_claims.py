"""Makes claims of code that one agent wrote and another one ran: its telling lines, and what it printed."""

import re
from collections.abc import Iterator

from aorch.memory import safe_text
from aorch.memory.block import Claim
from aorch.memory.local.code_runs import LINE, CodeRun, Output
from aorch.memory.local.copied_answers import copy_claim
from aorch.memory.local.findings import Findings
from aorch.memory.local.wording import Wording, claim_of, said

_CODE, _PRINTED, _NEXT = 0.6, 0.6, 0.8
"""Importance of the lines of code, of its output, and of code that is still to be run."""
_BRIEF, _OUTPUT, _LAST, _CLOSING = 110, 300, 80, 120
"""Characters of code and of an output in brief, of an output, of its last line, and of the sentence after code that says what it
is for."""
_COLUMNS = re.compile(r"\s{2,}")
"""The space between the columns of an output."""


def code_claims(g: Findings) -> Iterator[Claim]:
    """A claim for the code of each run, and one for its output, the newest first. The answer to a person has its own claim."""
    answer_id = g.copied.first_id if g.copied else ""
    for run in reversed(g.runs.ended):
        if run.output and run.output.contract_id != answer_id:
            yield _output_claim(run.output)
        if run.lines or run.closing:
            yield _code_claim(g, run)


def _output_claim(output: Output) -> Claim:
    """The output whole if it is short; otherwise its beginning, and its last line if that is short."""
    who, rows = safe_text.shown(output.agent), [_COLUMNS.split(line) for line in output.lines]
    first, last = [piece for row in rows[:-1] for piece in row], rows[-1]
    words, brief = (said([*first, *last], width) for width in (_OUTPUT, _BRIEF))
    if len(words.text) > _OUTPUT and sum(map(len, last)) <= _LAST:
        start, end = said(first, _OUTPUT - _LAST), said(last, 2 * _LAST)
        words = Wording(f"{start.text[:-1]} {end.text[1:]}", (*start.quotes, *end.quotes))
    ids, texts = [output.contract_id], (f"{who}: {words.text}", f"{who}: {brief.text}")
    return claim_of(*texts, words.quotes, ids, _PRINTED, output.number, [1])


def _code_claim(g: Findings, run: CodeRun) -> Claim:
    who, ids, number = safe_text.shown(run.agent), [run.contract_id], run.number
    if g.copied is not None and g.copied.first_id == run.contract_id:
        copy = copy_claim(g.copied)
        who, ids, number = copy.text, [*copy.contract_ids], copy.number
    closing = [said([run.closing], _CLOSING)] if run.closing else []
    full = [*(said([line], LINE) for line in run.lines), *closing]
    brief = [*([said([run.best], _BRIEF)] if run.best else []), *closing]
    text, short = (" ".join(one.text for one in words) for words in (full, brief))
    quotes = [quote for words in full for quote in words.quotes]
    importance = _NEXT if run.closing else _CODE
    return claim_of(f"{who}: {text}", f"{who}: {short}", quotes, ids, importance, number, [run.place] * len(full))

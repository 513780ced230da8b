"""Makes claims of failed calls (what was tried, what happened, whether it went well later) and of errors in texts of agents."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from aorch.memory import safe_text
from aorch.memory.block import DIFFERENT, FIRST_TIME, LAST_TIME, REPORTED, WENT_WELL, Claim
from aorch.memory.local.calls import Call, Failure, Request, is_command
from aorch.memory.local.edits import apart_from
from aorch.memory.local.error_lines import cause_of, without_body, without_known
from aorch.memory.local.findings import Findings
from aorch.memory.local.wording import TELLING, Wording, briefly, claim_of, fully, head, said

_VITAL_OF_A_KIND, _VITAL_FAILURES = 5, 14
_REPORTED, _VITAL_ERRORS, _EARLIER_ERROR = 0.895, 6, 0.6
"""Importance of an error in the text of an agent, how many of the newest are vital, and the importance of the others."""
_BRIEF_ERROR, _SHORTEST_PART = 110, 12
"""Characters of an error in brief, and of a part of it at least."""
_NUMBER = re.compile(r"\d+")
_COMMAND = 400
"""Characters of a failed command or query: what it contains is often the cause, so it is whole if possible."""
_FIRST_COMMAND = 100
"""Characters of the command that failed first, if later ones failed in the same way."""
_ALIKE = 0.5  # share of equal arguments from which a later call is a repetition of the failed one


def failure_brief(asked: Request, lines: Sequence[Sequence[str]], ended: str, times: str = "") -> tuple[str, list[str]]:
    """The brief text of a failure, and its quotations."""
    told = [brief_error(pieces) for pieces in lines]
    brief = " then ".join(dict.fromkeys(words.text for words in told))
    quotes = [quote for words in told for quote in words.quotes]
    return f"{head(asked)} {ended}{times}: {brief or 'no reason given'}", quotes


def brief_error(line: Sequence[str]) -> Wording:
    """The cause that a line of an error names; if it is long, without the start of long paths."""
    pieces = cause_of(line)
    if sum(map(len, pieces)) < _BRIEF_ERROR:
        return said(pieces, _BRIEF_ERROR)
    shown, room = [], _BRIEF_ERROR
    for piece in without_known(pieces):
        if room >= _SHORTEST_PART:
            shown.append(safe_text.clip(piece, room))
            room -= len(shown[-1]) + 3
    cut = "…" if not pieces[-1].endswith(shown[-1]) else ""
    return Wording(f"«{' … '.join(map(safe_text.shown, shown))}{cut}»", tuple(shown))


def failures(g: Findings) -> Iterator[Claim]:
    """A claim for each different failure. If failures differ only in numbers, only the newest few are vital."""
    alike: Counter[str] = Counter()
    for place, failure in enumerate(reversed(g.failures.values())):
        pattern = f"{failure.last.request.capability} {_NUMBER.sub('0', ' '.join(failure.lines[-1]) if failure.lines else '')}"
        alike[pattern] += 1
        vital = place < _VITAL_FAILURES and alike[pattern] <= _VITAL_OF_A_KIND
        yield _failure(g, failure, 0.97 - 0.002 * place if vital else 0.75 - 0.3 * min(1.0, alike[pattern] / 20))


def reported_errors(g: Findings) -> Iterator[Claim]:
    """A claim for each distinct error in the texts of agents, the newest first."""
    for place, one in enumerate(reversed(g.reported.values())):
        who = f"{safe_text.shown(one.agent)} {REPORTED}"
        full, short = (_said_error(one.sentence, width) for width in (300, 110))
        text, brief = f"{who}: {full.text}", f"{who}: {short.text}"
        importance = _REPORTED - 0.005 * place if place < _VITAL_ERRORS else _EARLIER_ERROR
        yield claim_of(text, brief, full.quotes, [one.contract_id], importance, one.number, [one.place])


def _said_error(line: str, width: int) -> Wording:
    """The quotation of a line that names an error, without the body of a response except for its message."""
    start, *message = without_body(line)
    if not message or len(start) > width // 2:
        return said([line], min(width, len(start)) if message else width)
    end = safe_text.clip(message[0], width - len(start))
    cut = "…" if len(end) < len(message[0]) else ""
    return Wording(f"«{safe_text.shown(start)} … {safe_text.shown(end)}{cut}»", (start, end))


def _failure(g: Findings, failure: Failure, importance: float) -> Claim:
    last = failure.last
    later = _done_later(g, last)
    arguments, begun = _tried(last, later), _first_tried(failure)
    full = [said(pieces, 240) for pieces in failure.lines]
    short = [brief_error(pieces) for pieces in failure.lines]
    told = " then ".join(words.text for words in full)
    brief = " then ".join(dict.fromkeys(one.text for one in short))
    ended = "was cancelled" if failure.cancelled else "failed"
    times = f" ×{failure.count}" if failure.count > 1 else ""
    if failure.alike or not arguments.text:
        what = f"{head(last.request)}{' with ' if arguments.text else ''}{arguments.text} {ended}{times}"
    else:
        what = f"{head(last.request)} {ended}{times} ({DIFFERENT} {begun.text}{LAST_TIME} {arguments.text})"
    the_same = later is not None and failure.alike and later.request.digest == last.request.digest
    after = f"; {WENT_WELL}" if the_same else ""
    first, *others = failure.contract_ids
    later_ids = [later.contract_id] if later and the_same else []
    return claim_of(
        f"{what}: {told or 'no reason given'}{after}",
        f"{head(last.request)} {ended}{times}: {brief or 'no reason given'}",
        [*begun.quotes, *arguments.quotes, *(quote for words in (*full, *short) for quote in words.quotes)],
        [first, *others[-1:], *later_ids, last.request.contract_id, failure.first.request.contract_id, *others],
        importance,
        failure.first.number,
    )


def _first_tried(failure: Failure) -> Wording:
    """The short command that failed first, if another one failed later; otherwise empty."""
    first = failure.first.request.arguments
    tried = fully(first, _FIRST_COMMAND, _FIRST_COMMAND)
    if failure.alike or not is_command(first) or "…" in tried.text:
        return Wording("", ())
    return tried._replace(text=f"{FIRST_TIME} {tried.text}, ")


def _done_later(g: Findings, failed: Call) -> Call | None:
    """A later successful call of the same capability, with the same arguments if there is one, otherwise with the most
    similar ones (at least half must be equal).
    """
    tried = {(leaf.key, leaf.text) for leaf in failed.request.arguments}
    best: Call | None = None
    likeness = 0.0
    for kind in (g.done, g.lookups):
        known = kind.get(failed.request.capability)
        for series in known.series.values() if known else ():
            if series.last.number < failed.number:
                continue
            if series.last.request.digest == failed.request.digest:
                return series.last
            worked = {(leaf.key, leaf.text) for leaf in series.last.request.arguments}
            share = len(tried & worked) / len(tried | worked) if tried | worked else 0.0
            if share >= max(_ALIKE, likeness):
                best, likeness = series.last, share
    return best


def _tried(failed: Call, later: Call | None) -> Wording:
    """A command, or the important arguments. If a later call succeeded with other arguments, those that differ."""
    arguments = failed.request.arguments
    if is_command(arguments):
        return fully(arguments, _COMMAND, _COMMAND)
    if later is not None:
        worked = {(leaf.key, leaf.text) for leaf in later.request.arguments}
        edits = {leaf.key: leaf for leaf in later.request.arguments if leaf.is_new}
        own = [apart_from(leaf, edits[leaf.key]) if leaf.is_new and leaf.key in edits else leaf for leaf in arguments]
        differing = fully([leaf for leaf in own if leaf and (leaf.key, leaf.text) not in worked], 90, 60)
        if differing.text:
            return differing
    return briefly(arguments, 90) if any(leaf.worth >= TELLING for leaf in arguments) else fully(arguments, 150, 120)

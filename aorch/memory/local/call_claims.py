"""Makes claims of calls: what was done, and what was looked up, the newest first. Calls that share a claim are in
claims_of_several_calls.py.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aorch.memory import call_effects, safe_text
from aorch.memory.block import NAMED_ERROR, Claim
from aorch.memory.budget import LAST_CALL
from aorch.memory.contract_content import Leaf, is_code, is_json_start
from aorch.memory.literals import found, weight
from aorch.memory.local.calls import Call, RepeatedCall, Request, commands, is_command, is_prompt
from aorch.memory.local.claims_of_several_calls import claim_together, values_of_reasons
from aorch.memory.local.findings import Findings
from aorch.memory.local.mentions import Mentions
from aorch.memory.local.wording import (
    TELLING,
    Wording,
    briefly,
    claim_of,
    fully,
    head,
    joined,
    new_values,
    outcome,
    said,
)
from aorch.memory.request_prompts import prose

_SINGLE, _VITAL_OF_A_KIND = 8, 5
_VALUES, _VALUE, _SHORT_RESULT = 900, 700, 70
"""Characters of several arguments or results, of one of them, and of a result in brief."""
_SHORT_ERROR, _SHORT_COMMAND = 110, 44
"""Characters of an error in the result of a successful call, and of its command, in a brief text."""
_ERROR, _SAME_ERROR, _MENDED = 0.965, 0.5, 0.955
"""Importance of a call whose result names an error, which is what a failure is, of one with the same error as a later one, and of
one that went well later.
"""
_REPEATED, _REPEATS = 8, 120
"""Characters that a result repeats of an argument at least, and the start of the result before which it begins to."""
SHORT_VALUE = 52
"""Characters of a result without exact strings that also a brief text has."""
_PLACE, _CHANGES = 100, 150
"""Characters of the place of an edit and of its new lines, or of those of a difference of files, in a brief text."""
BRIEF = 224
"""Characters of arguments without important ones, in a brief text: most commands, up to their essential part."""
_COMMAND, _LAST_COMMAND, _LAST_RUN = 0.55, 0.86, 0.9605
"""Importance of a command that only reads, of the last one, and of the last program that was run: its result tells where the work
stands, so it comes before changes."""
_CHANGE, _DELEGATED = 0.96, 0.86
"""Importance of a call that changes something, and of one whose arguments are a prompt, so that another agent does the work."""
_OLDER, _FORMAL, _SAME_QUESTION = 0.7, 0.4, 20
"""Importance of the older calls of a capability, and of questions that a program asks a person again and again, and characters by
which they are the same."""
_UNMENTIONED = Mentions(())
"""For calls that change something: of their results, what is spoken of later does not come first."""
_OWN_WIDTH, _MOST_OWN, _SHORTEST_OWN = 140, 2, 24
"""Characters and number of the sentences that are quoted of a long prompt, and characters that one has at least."""


@dataclass
class ClaimCounts:
    """By section, the number of findings that no claim contains (`unsaid`), such as older open points.

    `calls_in` is the number of calls of each claim that covers several.
    """

    unsaid: Counter[str] = field(default_factory=Counter)
    calls_in: dict[Claim, int] = field(default_factory=dict)


def done(g: Findings, counts: ClaimCounts) -> Iterator[Claim]:
    """Claims about calls: one for each of the newest calls of a capability, and one for all older ones."""
    single: list[tuple[RepeatedCall, float]] = []
    last, formal = _last_calls(g), _formal_questions(g)
    for calls in g.done.values():
        newest_first = list(reversed(calls.series.values()))
        shared = [one for one in newest_first if one.last.number in formal and one.last.number not in last]
        newest = [one for one in newest_first if one not in shared]
        alone = [one for place, one in enumerate(newest) if place < _SINGLE or one.last.error]
        for place, series in enumerate(alone):
            base = _CHANGE if series.last.request.changes else 0.6
            base -= place * (0.002 if place < _VITAL_OF_A_KIND else 0.02)
            base = max(base, last.get(series.last.number, 0.0))
            single.append((series, min(base, _DELEGATED) if is_prompt(series.last.request) else base))
        if older := [one for one in newest_first if one not in alone]:
            count = calls.count - sum(series.count for series in alone)
            claim, told = claim_together(older, count, _FORMAL if shared else _OLDER, _UNMENTIONED)
            counts.calls_in[claim] = told
            counts.unsaid["decisions"] += len(older) - told
            yield claim
    errors: dict[str, float] = {}
    went_well = {series.last.request.digest: series.last.number for series, _ in single if not series.last.error}
    for series, importance in sorted(single, key=lambda pair: -pair[0].last.number):
        if error := series.last.error:
            importance = min(importance, _SAME_ERROR) if error in errors else _ERROR - 0.005 * len(errors)
            if went_well.get(series.last.request.digest, 0) > series.last.number:
                importance = min(importance, _MENDED)
            errors[error] = importance
        yield _decision(g, series, importance, _UNMENTIONED, is_last=series.last.number in last)


def _formal_questions(g: Findings) -> set[int]:
    """The numbers of the calls that ask the person who began in the same words as another call: `Add the file? (y/n)`."""
    last_lines = {
        one.last.number: (leaf.more or (leaf.text,))[-1][:_SAME_QUESTION]
        for calls in g.done.values()
        for one in calls.series.values()
        for leaf in one.last.request.arguments[-1:]
        if one.last.request.agent == g.parties.starter
    }
    times = Counter(last_lines.values())
    return {number for number, line in last_lines.items() if times[line] > 1}


def _decision(g: Findings, series: RepeatedCall, importance: float, mentions: Mentions, *, is_last: bool) -> Claim:
    """The claim of a call, and of equal ones at the place of the first; if it `is_last` in the work, at that of the last."""
    call = series.last
    own = _own_words(g, call.request)
    arguments = own or fully(_shown_arguments(call.request), _VALUES, _VALUE)
    result = outcome(call, _VALUE, mentions.has)
    if not call.results and any(leaf.is_new for leaf in call.request.arguments):
        result = Wording("", ())  # the editor only shows the edit again
    if call.error:
        result = _with_error(call, result)
    short = _short(own) if own else brief_arguments(call.request)
    short_result = _short_result(g, call, short, result)
    if (reasons := values_of_reasons([series], mentions)[0]).text:
        told = ", ".join(filter(None, (short_result.text, reasons.text)))
        short_result = Wording(told, (*short_result.quotes, *reasons.quotes))
    if call.error and (executed := commands(call.request.arguments)):
        short = fully(executed, 2 * _SHORT_COMMAND, _SHORT_COMMAND)
    called = f"{head(call.request)}{f' ×{series.count}' if series.count > 1 else ''}"
    wording = joined(called, arguments.text, f"→ {result.text}" if result.text else "")
    brief = joined(called, short.text, f"→ {short_result.text}" if short_result.text else "")
    quotes = (*arguments.quotes, *result.quotes, *short.quotes, *short_result.quotes)
    number, first = (call.number, call.contract_id) if is_last else series.begun
    cites = [first, call.contract_id, call.request.contract_id]
    return claim_of(wording, brief, quotes, cites, importance, number)


def _short_result(g: Findings, call: Call, short: Wording, result: Wording) -> Wording:
    """The result of a call in brief. `short`: its arguments in brief; `result`: its result in full."""
    if call.error:
        error = said([call.error], _SHORT_ERROR)
        return error._replace(text=f"{NAMED_ERROR}{error.text}")
    if (own_words := _before_repetition(call)) is not None:
        return own_words
    if changes := [leaf for leaf in call.news if leaf.is_new]:
        is_end = g.end is not None and g.end.output_of is call  # which shows them
        return Wording("", ()) if is_end else _new_lines(changes)
    exact = [leaf for leaf in new_values(call) if leaf.is_string and weight(leaf.text) >= 0.5]
    made = briefly([leaf for leaf in exact if not leaf.text.isdigit()][:4], 60)
    if made.text:
        return made
    if call.news and (is_command(call.request.arguments) or not short.text):
        return outcome(call, _SHORT_RESULT)
    return result if call.results and short.text and len(result.text) <= SHORT_VALUE else made


def _before_repetition(call: Call) -> Wording | None:
    """What a result says before its first line repeats an argument (`Commit 2063f23 fix: …`), if that has an exact string.

    None if the line repeats nothing.
    """
    results = [leaf for leaf in call.results if leaf.is_string]
    if len(results) != 1:
        return None
    line = results[0].text
    given = [one for leaf in call.request.arguments if leaf.is_string for one in (leaf.text, *leaf.more)]
    words = [n + 1 for n, char in enumerate(line[:_REPEATS]) if char == " "]
    start = next((n for n in words if len(line) - n >= _REPEATED and any(line[n:] in one for one in given)), None)
    if start is None:
        return None
    own = line[:start].rstrip()
    return said([own], _SHORT_RESULT) if found(own) else Wording("", ())


def _own_words(g: Findings, asked: Request) -> Wording | None:
    """What a long prompt says that no other prompt of the session does; None if the arguments of a call are no prompt."""
    if not is_prompt(asked):
        return None
    own = [one for one in safe_text.sentences(prose(asked.said)[0]) if len(one) >= _SHORTEST_OWN]
    telling = [one for one in own if not g.recurs(one) and not is_code(one)]
    words = [said([one], _OWN_WIDTH) for one in telling[-_MOST_OWN:]]
    return Wording(" ".join(word.text for word in words), tuple(quote for word in words for quote in word.quotes))


def _short(own: Wording) -> Wording:
    return said(own.quotes[:1], BRIEF - 40) if own.quotes else own


def _with_error(call: Call, result: Wording) -> Wording:
    """The outcome of a call, with the error that its result names."""
    shown = safe_text.shown(call.error)
    if shown in result.text:
        return result._replace(text=f"{NAMED_ERROR}{result.text}") if result.text[1:].startswith(shown) else result
    error = said([call.error], _VALUE)
    between = ", " if result.text else ""
    return Wording(f"{result.text}{between}{NAMED_ERROR}{error.text}", (*result.quotes, *error.quotes))


def brief_arguments(asked: Request) -> Wording:
    """The important arguments of a call, and the new lines of an edit; if there are none, the first ones."""
    if made := [leaf for leaf in asked.arguments if leaf.is_new]:
        where, new = _place([leaf for leaf in asked.arguments if not leaf.is_new]), _new_lines(made)
        return Wording(joined(where.text, new.text), (*where.quotes, *new.quotes))
    short, shown = briefly(asked.arguments, 220), _shown_arguments(asked)
    return short if short.text else fully(commands(shown) or shown, BRIEF + 20, BRIEF)


def _place(arguments: Sequence[Leaf]) -> Wording:
    """Where an edit changes something: its important arguments, or of a long path the name of the file."""
    where = briefly(arguments, _PLACE)
    path = next((leaf.text for leaf in arguments if not where.text and "/" in leaf.text), "")
    name = path.rpartition("/")[2]
    if name and name.isprintable() and " " not in name:
        return Wording(safe_text.shown(name), (name,))
    return where if where.text else fully([leaf for leaf in arguments if " " not in leaf.text], _PLACE)


def _new_lines(made: Sequence[Leaf]) -> Wording:
    """The lines that an edit or a difference of files makes new, in a brief text."""
    return fully([leaf._replace(top="", key="") for leaf in made[:1]], _CHANGES, _CHANGES - 4)


def _shown_arguments(asked: Request) -> list[Leaf]:
    """The arguments of a call without JSON in strings, which is what an earlier call had as its result."""
    return [leaf for leaf in asked.arguments if not is_json_start(leaf)]


def looked_up(g: Findings, counts: ClaimCounts) -> Iterator[Claim]:
    """Claims about calls that only read: one for each of the newest commands, and one for the other calls of a capability."""
    last, mentions = _last_calls(g), Mentions(g.said)
    for calls in reversed(g.lookups.values()):
        newest_first = list(reversed(calls.series.values()))
        alone = [one for one in newest_first if one.last.number in last or is_command(one.last.request.arguments)]
        alone = alone[:_SINGLE]
        for place, series in enumerate(alone):
            has_failed = bool(series.last.error) and _runs(series.last)
            importance = _MENDED - 0.001 * place if has_failed else _COMMAND - 0.01 * place
            is_last = series.last.number in last
            yield _decision(g, series, last.get(series.last.number, importance), mentions, is_last=is_last)
        if together := [one for one in newest_first if one not in alone]:
            asked = [leaf.worth for one in together for leaf in one.last.request.arguments if leaf.worth >= TELLING]
            count = calls.count - sum(series.count for series in alone)
            claim, told = claim_together(together, count, 0.5 + 0.2 * min(1.0, sum(asked) / 6), mentions)
            counts.calls_in[claim] = told
            counts.unsaid["results"] += len(together) - told
            yield claim


def _last_calls(g: Findings) -> dict[int, float]:
    """The numbers of the newest successful call, of the newest program that was run, such as a test, and of the newest command,
    with their importance.
    """
    capabilities = [[*calls.series.values()] for kind in (g.done, g.lookups) for calls in kind.values()]
    newest = sorted((series[-1].last for series in capabilities), key=lambda call: call.number)
    ran = max((one.last for series in capabilities for one in series if _runs(one.last)), default=None, key=_number)
    commanded = [call for call in newest[:-1] if is_command(call.request.arguments)][-1:]
    return {
        **{call.number: _LAST_COMMAND for call in commanded},
        **({ran.number: _LAST_RUN} if ran else {}),
        **{call.number: LAST_CALL for call in newest[-1:]},
    }


def _number(call: Call) -> int:
    return call.number


def _runs(call: Call) -> bool:
    return any(call_effects.runs(leaf.text) for leaf in commands(call.request.arguments))

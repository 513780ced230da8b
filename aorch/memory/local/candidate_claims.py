"""Turns findings into candidate claims with text, citations and importance, the newest first in each section."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from msgspec.structs import replace

from aorch.memory import safe_text, segments
from aorch.memory.block import ANSWERED, NO_RESPONSE, NOT_ANSWERED, REPORTED, WITH_WORDS, Claim
from aorch.memory.budget import END, LAST_CALL, WORK, Item
from aorch.memory.literals import weight
from aorch.memory.local.calls import Call, Copied, Ending, RepeatedCall, Request, is_command, is_prompt
from aorch.memory.local.failure_claims import failures
from aorch.memory.local.findings import AIM_WIDTH, Findings
from aorch.memory.local.sentence_claims import ANSWER, alike, decided, reported_errors, sentences
from aorch.memory.local.spoken_sentences import ends_of_sentence, is_phrase, section_of
from aorch.memory.local.wording import (
    OPEN_WIDTH,
    TELLING,
    Wording,
    briefly,
    changed,
    claim_of,
    fully,
    head,
    joined,
    new_values,
    outcome,
    said,
)
from aorch.memory.request_prompts import prose

_MOST_NAMES, _MOST_OF_LABEL, _MOST_WAITING = 120, 12, 40
"""Number of exact strings, of those with one label, and of unanswered REQUESTs that are weighed. A series displaces wishes."""
_SINGLE, _VITAL_OF_A_KIND = 8, 5
_VALUES, _VALUE, _SHORT_RESULT = 600, 400, 70
"""Characters of several arguments or results, of one of them, and of a result in brief."""
_SHORT_ERROR = 110
"""Characters of an error in the result of a successful call, in a brief text."""
SHORT_VALUE = 40
"""Characters of a result without exact strings that also a brief text has."""
_SHORT_CHANGE = 80
"""Characters of changed values that also a brief text has: what changed is what the calls were for."""
_BRIEF = 224
"""Characters of arguments without important ones, in a brief text: most commands, up to their essential part."""
_COMMAND, _LAST_COMMAND = 0.55, 0.86
"""Importance of a command that only reads, and of the last one, unless it is the last call."""
_CHANGE, _DELEGATED = 0.96, 0.86
"""Importance of a call that changes something, and of one whose arguments are a prompt, so that another agent does the work."""
_END_BRIEF = 60
"""Characters of the end of the session in brief."""
_OWN_WIDTH, _MOST_OWN, _SHORTEST_OWN = 140, 2, 24
"""Characters and number of the sentences that are quoted of a long prompt, and characters that one has at least."""
_AIM_BRIEF, _AIM_START, _LEAD = 150, 90, 110
"""Characters of an aim in brief, of its start after lines that announce it (`Solve this issue:`), and of those at most."""


@dataclass
class ClaimCounts:
    """By section, the number of findings that no claim contains (`unsaid`), such as older open points.

    `calls_in` is the number of calls of each claim that covers several.
    """

    unsaid: Counter[str] = field(default_factory=Counter)
    calls_in: dict[Claim, int] = field(default_factory=dict)


def candidate_claims(findings: Findings, intent: str | None) -> tuple[list[Item], ClaimCounts]:
    """All candidate claims with their sections, and the counts of what they leave out."""
    counts = ClaimCounts()
    question = f"{intent or ''} {_aim_text(findings)}"
    aims = list(_aims(findings))
    items = [("aims", claim) for claim in aims]
    items += [("decisions", claim) for claim in decided(findings.decided)]
    items += [("decisions", claim) for claim in _decisions(findings, counts)]
    items += [("failures", claim) for claim in failures(findings)]
    items += [("open_points", claim) for claim in _open_points(findings, counts)]
    spoken, unsaid = sentences(findings, question, aims)
    items += spoken
    counts.unsaid += unsaid
    items += [("results", claim) for claim in reported_errors(findings)]
    items += [("results", claim) for claim in _lookups(findings, counts)]
    items = _with_end(findings, items)
    items += [("literals", claim) for claim in literal_claims(findings)]
    return items, counts


def _with_end(g: Findings, items: list[Item]) -> list[Item]:
    """`items`, among which the end of the session is vital: the last exchange with a person, and the answer before it."""
    if g.copied is not None:
        items = _with_copy(g.copied, items)
    elif g.end is not None and not any(g.end.contract_id in claim.contract_ids for _, claim in items):
        items.append((section_of(g.end.asks), _end(g.end)))
    vital = {g.answer[0]: ANSWER} if g.answer and g.end is not None and g.end.asks else {}
    if g.end is not None:
        vital[g.end.contract_id] = END
    for identity, importance in vital.items():
        said_there = [
            n
            for n, (section, one) in enumerate(items)
            if section in WORK and one.contract_ids[0] == identity and REPORTED not in one.text.partition("«")[0]
        ]
        if said_there:
            place = max(said_there, key=lambda n: items[n][1].importance)
            section, claim = items[place]
            items[place] = section, replace(_shorter(claim), importance=max(claim.importance, importance))
    return items


def _shorter(claim: Claim) -> Claim:
    """`claim` with a brief text that leaves room for other claims."""
    shown = claim.brief or claim.text
    who, _, words = shown.partition(": «")
    best = next((quote for quote in claim.quotes if words.startswith(safe_text.shown(quote)[:20])), "")
    brief = f"{who}: {said([best], _END_BRIEF).text}"
    return replace(claim, brief=brief) if best and len(brief) < len(shown) else claim


def _end(end: Ending) -> Claim:
    who, lines = safe_text.shown(end.agent), list(safe_text.lines(end.text))[:12]
    words = said(lines, OPEN_WIDTH)
    brief = f"{who}: {said(lines, _BRIEF).text}"
    return claim_of(f"{who}: {words.text}", brief, words.quotes, [end.contract_id], END, end.number)


def _with_copy(copied: Copied, items: list[Item]) -> list[Item]:
    """`items` with the answer to a person instead of the claim of the agent whose words it has."""
    copy, who = copy_claim(copied), f"{safe_text.shown(copied.author)}: «"
    of_author = [item for item in items if item[1].contract_ids[0] == copied.first_id and item[1].text.startswith(who)]
    if not of_author:
        return [*items, ("results", copy)]
    best = max(of_author, key=lambda item: item[1].importance)
    text, brief = (f"{copy.text}{shown[len(who) - 3 :]}" if shown else "" for shown in (best[1].text, best[1].brief))
    whole = replace(copy, text=text, brief=brief, quotes=best[1].quotes, importance=max(END, best[1].importance))
    return [*(item for item in items if item is not best), ("results", whole)]


def copy_claim(copied: Copied) -> Claim:
    """An answer to a person that another agent wrote: its words are shown as that agent's."""
    who, whom, author = map(safe_text.shown, (copied.agent, copied.whom, copied.author))
    text = f"{who} {ANSWERED} {whom} {WITH_WORDS} {author}"
    return claim_of(text, "", (), [copied.contract_id, copied.first_id], END, copied.number)


def _aim_text(g: Findings) -> str:
    if g.aim is None:
        return ""
    return g.aim.said or " ".join(leaf.text for leaf in g.aim.arguments)


def _aims(g: Findings) -> Iterator[Claim]:
    if g.aim is None:
        return
    if not g.aim.said:
        text, quotes = fully(g.aim.arguments, 240)
        wording = f"{head(g.aim)} {text}".rstrip()
        short = briefly(g.aim.arguments, 100)
        brief = f"{head(g.aim)} {short.text}".rstrip()
        yield claim_of(wording, brief, (*quotes, *short.quotes), [g.aim.contract_id], 1.0, g.aim.number)
        return
    lines = list(safe_text.lines(g.aim.said))[:12]
    lead = min(_LEAD, sum(len(line) + 1 for line in takewhile(_introduces, lines[:-1])))
    full = said(lines, AIM_WIDTH + lead)
    brief = said(lines, max(_AIM_BRIEF, lead + _AIM_START)).text
    wording, quotes = full.text, full.quotes
    question = next((one for one in reversed(list(safe_text.sentences(g.aim.said))) if one.endswith("?")), "")
    if question and len(question) <= 240 and not any(question in quote for quote in quotes):
        wording, quotes = f"{wording} «{safe_text.shown(question)}»", (*quotes, question)
    importance = 0.5 if is_phrase(g.aim.said) else 1.0
    yield claim_of(wording, brief, quotes, [g.aim.contract_id], importance, g.aim.number)


def _introduces(line: str) -> bool:
    """Whether a line only announces the next one: `Here is the issue:`."""
    return line.endswith((":", "："))


def _decisions(g: Findings, counts: ClaimCounts) -> Iterator[Claim]:
    """Claims about calls: one for each of the newest calls of a capability, and one for all older ones."""
    single: list[tuple[RepeatedCall, float]] = []
    last = _last_calls(g)
    for calls in g.done.values():
        newest_first = list(reversed(calls.series.values()))
        for place, series in enumerate(newest_first[:_SINGLE]):
            base = _CHANGE if series.last.request.changes else 0.6
            if is_prompt(series.last.request):
                base = min(base, _DELEGATED)
            elif series.last in last:
                base = LAST_CALL if series.last is last[0] else max(base, _LAST_COMMAND)
            single.append((series, base - place * (0.002 if place < _VITAL_OF_A_KIND else 0.02)))
        if older := newest_first[_SINGLE:]:
            count = calls.count - sum(series.count for series in newest_first[:_SINGLE])
            claim, told = _together(older, count, 0.7)
            counts.calls_in[claim] = told
            counts.unsaid["decisions"] += len(older) - told
            yield claim
    for series, importance in sorted(single, key=lambda pair: -pair[0].last.number):
        yield _decision(g, series, importance)


def _decision(g: Findings, series: RepeatedCall, importance: float) -> Claim:
    call = series.last
    own = _own_words(g, call.request)
    arguments, result = own or fully(call.request.arguments, _VALUES, _VALUE), outcome(call, _VALUE)
    if call.error:
        importance = max(importance, _LAST_COMMAND)
        result = _with_error(call, result)
    made = [
        leaf for leaf in new_values(call) if leaf.is_string and weight(leaf.text) >= 0.5 and not leaf.text.isdigit()
    ][:4]
    short, short_result = _short(own) if own else brief_arguments(call.request), briefly(made, 60)
    if is_command(call.request.arguments) and not short_result.text:
        short_result = outcome(call, _SHORT_RESULT) if call.news else short_result
    elif not short_result.text and call.results and len(result.text) <= SHORT_VALUE:
        short_result = result
    if call.error:
        short_result = said([call.error], _SHORT_ERROR)
    times = f" ×{series.count}" if series.count > 1 else ""
    wording = joined(f"{head(call.request)}{times}", arguments.text, f"→ {result.text}" if result.text else "")
    brief = (
        f"{joined(f'{head(call.request)}{times}', short.text)}{f' → {short_result.text}' if short_result.text else ''}"
    )
    quotes = (*arguments.quotes, *result.quotes, *short.quotes, *short_result.quotes)
    cites = [call.contract_id, call.request.contract_id]
    return claim_of(wording, brief.rstrip(), quotes, cites, importance, call.number)


def _own_words(g: Findings, asked: Request) -> Wording | None:
    """What a long prompt says that no other prompt of the session does; None if the arguments of a call are no prompt."""
    if not is_prompt(asked):
        return None
    own = [one for one in safe_text.sentences(prose(asked.said)[0]) if len(one) >= _SHORTEST_OWN]
    telling = [one for one in own if max(map(g.prompted.__getitem__, ends_of_sentence(one))) <= 1]
    words = [said([one], _OWN_WIDTH) for one in telling[-_MOST_OWN:]]
    return Wording(" ".join(word.text for word in words), tuple(quote for word in words for quote in word.quotes))


def _short(own: Wording) -> Wording:
    return said(own.quotes[:1], _BRIEF - 40) if own.quotes else own


def _with_error(call: Call, result: Wording) -> Wording:
    """The outcome of a call, with the error that its result names."""
    if safe_text.shown(call.error) in result.text:
        return result
    error = said([call.error], _VALUE)
    return Wording(joined(result.text, error.text), (*result.quotes, *error.quotes))


def brief_arguments(asked: Request) -> Wording:
    """The important arguments of a call; if there are none, the first ones."""
    short = briefly(asked.arguments, 220)
    return short if short.text else fully(asked.arguments, _BRIEF + 20, _BRIEF)


def _open_points(g: Findings, counts: ClaimCounts) -> Iterator[Claim]:
    all_waiting = [asked for asked in g.open.values() if g.waiting(asked.contract_id)]
    waiting = _latest(all_waiting[-_MOST_WAITING:])
    counts.unsaid["open_points"] += len(all_waiting) - len(waiting)
    for asked in reversed(waiting):
        if asked.said:
            if g.end is not None and g.end.contract_id == asked.contract_id and is_phrase(asked.said):
                continue  # the closing words of a person
            if is_phrase(asked.said):
                counts.unsaid["open_points"] += 1
                continue
            words = said(safe_text.lines(asked.said), OPEN_WIDTH)
            text, importance = f"{safe_text.shown(asked.from_agent)} said {words.text}, {NOT_ANSWERED}", 0.6
        else:
            words = fully(asked.arguments, OPEN_WIDTH)
            text, importance = f"{head(asked)} {words.text}: {NO_RESPONSE}", 0.75
        yield claim_of(text, "", words.quotes, [asked.contract_id], importance, asked.number)
    if g.answer and not any(asked.outermost for asked in g.open.values()):
        identity, agent, answer, number = g.answer
        last = [*safe_text.sentences(answer)][-1:]
        if last and last[0].endswith(("?", "？")):
            words = said(last, 200)
            yield claim_of(f"{safe_text.shown(agent)} asked {words.text}", "", words.quotes, [identity], 0.55, number)


def _latest(waiting: Sequence[Request]) -> list[Request]:
    """REQUESTs without those that a later one to the same agent repeats in similar words."""
    latest: list[Request] = []
    told: list[tuple[str, str, set[str]]] = []
    for asked in reversed(waiting):
        own = segments.words(asked.said)
        if not own or not any(
            alike(own, others) for who, whom, others in told if (who, whom) == (asked.from_agent, asked.agent)
        ):
            latest.append(asked)
            told.append((asked.from_agent, asked.agent, own))
    return latest[::-1]


def _lookups(g: Findings, counts: ClaimCounts) -> Iterator[Claim]:
    """Claims about calls that only read: one for each of the newest commands, and one for the other calls of a capability."""
    last = _last_calls(g)
    for calls in reversed(g.lookups.values()):
        newest_first = list(reversed(calls.series.values()))
        alone = [one for one in newest_first if one.last in last or is_command(one.last.request.arguments)][:_SINGLE]
        for place, series in enumerate(alone):
            importance = _COMMAND - 0.01 * place
            if series.last in last:
                importance = LAST_CALL if series.last is last[0] else _LAST_COMMAND
            yield _decision(g, series, importance)
        if together := [one for one in newest_first if one not in alone]:
            asked = [leaf.worth for one in together for leaf in one.last.request.arguments if leaf.worth >= TELLING]
            count = calls.count - sum(series.count for series in alone)
            claim, told = _together(together, count, 0.5 + 0.2 * min(1.0, sum(asked) / 6))
            counts.calls_in[claim] = told
            counts.unsaid["results"] += len(together) - told
            yield claim


def _last_calls(g: Findings) -> list[Call]:
    """The newest successful call, and the newest command."""
    newest = [list(calls.series.values())[-1].last for kind in (g.done, g.lookups) for calls in kind.values()]
    newest.sort(key=lambda call: call.number)
    return [*newest[-1:], *[call for call in newest[:-1] if is_command(call.request.arguments)][-1:]]


def _together(newest_first: Sequence[RepeatedCall], count: int, importance: float) -> tuple[Claim, int]:
    """One claim for several calls of a capability: how many, with which arguments, and the newest result or the changes.

    Also returns the number of calls that the claim mentions.
    """
    newest = newest_first[0]
    times = f" ×{count}" if count > 1 else ""
    parts: list[str] = []
    quotes: list[str] = []
    cited, room, told = [], 240, 0
    for series in newest_first:
        arguments = briefly(series.last.request.arguments, 110, " ")
        if not arguments.text:
            arguments = fully(series.last.request.arguments, 80, 60)
        part = arguments.text
        if part in parts:
            told += 1
            continue
        room -= len(part) + 2
        if room < 0:
            break
        told += 1
        parts.append(part)
        quotes += arguments.quotes
        cited.append(series.last.request.contract_id)
    brief = f"{head(newest.last.request)}{times} {', '.join(reversed(parts))}".rstrip()
    result, cites = _results(newest_first[: len(cited)]) if len(cited) > 1 else _result_or_changes(newest)
    is_change = bool(cites) and len(cited) == 1
    text = f"{brief}{': ' if is_change else ' → '}{result.text}" if result.text else brief
    if is_change and len(result.text) <= _SHORT_CHANGE:
        brief = text
    cites = [newest.last.contract_id, *cites, *reversed(cited)]
    return claim_of(text, brief, (*quotes, *result.quotes), cites, importance, newest.last.number), told


def _results(newest_first: Sequence[RepeatedCall]) -> tuple[Wording, list[str]]:
    """The exact strings in the results of several calls, each after the arguments of its call, and the contracts to cite."""
    cited: list[str] = []
    room = _VALUES
    parts: list[str] = []
    quotes: list[str] = []
    for series in newest_first:
        made = briefly([leaf for leaf in new_values(series.last) if weight(leaf.text) >= 0.5], room, " ")
        owner = briefly(series.last.request.arguments, 40)
        part = f"{owner.text}: {made.text}" if owner.text else made.text
        if not made.text or len(part) > room:
            continue
        room -= len(part) + 2
        parts.append(part)
        quotes += (*owner.quotes, *made.quotes)
        cited.append(series.last.contract_id)
    return Wording("; ".join(reversed(parts)), tuple(quotes)), cited


def _result_or_changes(series: RepeatedCall) -> tuple[Wording, list[str]]:
    """The changes in the results of a repeated call, with the contracts to cite for them. Without changes, the last result."""
    if series.changed and (values := changed(series, 170)).text:
        return values, series.ends
    return (outcome(series.last, 170) if series.last.news else Wording("", ())), []


def literal_claims(g: Findings) -> Iterator[Claim]:
    """The exact strings, the most important first."""
    by_worth = sorted(g.named.items(), key=lambda item: -item[1].worth)
    of_label: Counter[str] = Counter()
    for name, named in by_worth[:_MOST_NAMES]:
        of_label[named.label] += 1
        if named.label and of_label[named.label] > _MOST_OF_LABEL:
            continue
        label = safe_text.shown(safe_text.first_line(named.label)[:24])
        text = f"{label} {safe_text.shown(name)}" if label else safe_text.shown(name)
        yield Claim(text, (named.contract_id,), (name,), round(0.84 - 0.64 * math.exp(-named.worth), 4))

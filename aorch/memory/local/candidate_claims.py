"""Turns findings into candidate claims with text, citations and importance, the newest first in each section."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aorch.memory import safe_text
from aorch.memory.block import NO_RESPONSE, NOT_ANSWERED, WENT_WELL, Claim
from aorch.memory.budget import Item
from aorch.memory.literals import weight
from aorch.memory.local.calls import Call, Failure, RepeatedCall
from aorch.memory.local.findings import AIM_WIDTH, Findings
from aorch.memory.local.sentence_claims import decided, sentences
from aorch.memory.local.spoken_sentences import is_phrase
from aorch.memory.local.wording import (
    OPEN_WIDTH,
    TELLING,
    Wording,
    briefly,
    changed,
    claim_of,
    fully,
    head,
    new_values,
    outcome,
    said,
)

MOST_NAMES, MOST_OF_LABEL = 120, 12
_MOST_WAITING = 40
_SELDOM = 0.03  # a date or an address that occurs once, in a long result
_SINGLE, _VITAL_OF_A_KIND, _VITAL_FAILURES = 8, 5, 14
_NUMBER = re.compile(r"\d+")
_ALIKE = 0.5  # share of equal arguments from which a later call is a repetition of the failed one


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
    items += [("decisions", claim) for claim in decided(findings)]
    items += [("decisions", claim) for claim in _decisions(findings, counts)]
    items += [("failures", claim) for claim in _failures(findings)]
    items += [("open_points", claim) for claim in _open_points(findings, counts)]
    spoken, unsaid = sentences(findings, question, aims)
    items += spoken
    counts.unsaid += unsaid
    items += [("results", claim) for claim in _lookups(findings, counts)]
    items += [("literals", claim) for claim in _literals(findings)]
    return items, counts


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
        yield claim_of(wording, brief, (*quotes, *short.quotes), [g.aim.contract_id], 1.0)
        return
    lines = list(safe_text.lines(g.aim.said))[:12]
    full = said(lines, AIM_WIDTH)
    wording, quotes = full.text, full.quotes
    question = next((one for one in reversed(list(safe_text.sentences(g.aim.said))) if one.endswith("?")), "")
    if question and len(question) <= 240 and not any(question in quote for quote in quotes):
        wording, quotes = f"{wording} «{safe_text.shown(question)}»", (*quotes, question)
    importance = 0.5 if is_phrase(g.aim.said) else 1.0
    yield claim_of(wording, said(lines, 150).text, quotes, [g.aim.contract_id], importance)


def _decisions(g: Findings, counts: ClaimCounts) -> Iterator[Claim]:
    """Claims about calls: one for each of the newest calls of a capability, and one for all older ones."""
    single: list[tuple[RepeatedCall, float]] = []
    for calls in g.done.values():
        newest_first = list(reversed(calls.series.values()))
        for place, series in enumerate(newest_first[:_SINGLE]):
            base = 0.96 if series.last.request.changes else 0.6
            single.append((series, base - place * (0.002 if place < _VITAL_OF_A_KIND else 0.02)))
        if older := newest_first[_SINGLE:]:
            count = calls.count - sum(series.count for series in newest_first[:_SINGLE])
            claim, told = _together(older, count, 0.7)
            counts.calls_in[claim] = told
            counts.unsaid["decisions"] += len(older) - told
            yield claim
    for series, importance in sorted(single, key=lambda pair: -pair[0].last.number):
        yield _decision(series, importance)


def _decision(series: RepeatedCall, importance: float) -> Claim:
    call = series.last
    arguments, result = fully(call.request.arguments, 260), outcome(call, 130)
    made = [leaf for leaf in new_values(call) if leaf.is_string and weight(leaf.text) == 1][:4]
    short, short_result = briefly(call.request.arguments, 220), briefly(made, 60)
    if not short.text:
        short = fully(call.request.arguments, 80, 70)
    times = f" ×{series.count}" if series.count > 1 else ""
    wording = f"{head(call.request)}{times} {arguments.text} → {result.text}"
    brief = f"{head(call.request)}{times} {short.text}{f' → {short_result.text}' if short_result.text else ''}"
    quotes = (*arguments.quotes, *result.quotes, *short.quotes, *short_result.quotes)
    return claim_of(wording, brief.rstrip(), quotes, [call.contract_id, call.request.contract_id], importance)


def _failures(g: Findings) -> Iterator[Claim]:
    """A claim for each different failure. If failures differ only in numbers, only the newest few are vital."""
    alike: Counter[str] = Counter()
    for place, failure in enumerate(reversed(g.failures.values())):
        pattern = f"{failure.last.request.capability} {_NUMBER.sub('0', ' '.join(failure.lines[-1]) if failure.lines else '')}"
        alike[pattern] += 1
        vital = place < _VITAL_FAILURES and alike[pattern] <= _VITAL_OF_A_KIND
        yield _failure(g, failure, 0.97 - 0.005 * place if vital else 0.75 - 0.3 * min(1.0, alike[pattern] / 20))


def _failure(g: Findings, failure: Failure, importance: float) -> Claim:
    last = failure.last
    later = _done_later(g, last)
    arguments = _tried(last, later)
    full = [said(pieces, 240) for pieces in failure.lines]
    told = " then ".join(words.text for words in full)
    brief = " then ".join(said(pieces, 110).text for pieces in failure.lines)
    ended = "was cancelled" if failure.cancelled else "failed"
    what = f"{head(last.request)}{' with ' if arguments.text else ''}{arguments.text} {ended}"
    times = f" ×{failure.count}" if failure.count > 1 else ""
    the_same = later is not None and failure.alike and later.request.digest == last.request.digest
    after = f"; {WENT_WELL}" if the_same else ""
    newest, *others = reversed(failure.contract_ids)
    later_ids = [later.contract_id] if later and the_same else []
    return claim_of(
        f"{what}{times}: {told or 'no reason given'}{after}",
        f"{head(last.request)}{times}: {brief or f'{ended}, no reason given'}",
        [*arguments.quotes, *(quote for words in full for quote in words.quotes)],
        [newest, *later_ids, last.request.contract_id, *others],
        importance,
    )


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
    """The important arguments, or, if a later call succeeded with other arguments, the arguments that differ."""
    arguments = failed.request.arguments
    if later is not None:
        worked = {(leaf.key, leaf.text) for leaf in later.request.arguments}
        differing = fully([leaf for leaf in arguments if (leaf.key, leaf.text) not in worked], 90, 60)
        if differing.text:
            return differing
    return briefly(arguments, 90) if any(leaf.worth >= TELLING for leaf in arguments) else fully(arguments, 90, 70)


def _open_points(g: Findings, counts: ClaimCounts) -> Iterator[Claim]:
    waiting = [asked for asked in g.open.values() if g.waiting(asked.contract_id)]
    counts.unsaid["open_points"] += max(0, len(waiting) - _MOST_WAITING)
    for asked in reversed(waiting[-_MOST_WAITING:]):
        if asked.said:
            if is_phrase(asked.said):
                counts.unsaid["open_points"] += 1
                continue
            words = said(safe_text.lines(asked.said), OPEN_WIDTH)
            text, importance = f"{safe_text.shown(asked.from_agent)} said {words.text}, {NOT_ANSWERED}", 0.6
        else:
            words = fully(asked.arguments, OPEN_WIDTH)
            text, importance = f"{head(asked)} {words.text}: {NO_RESPONSE}", 0.75
        yield claim_of(text, "", words.quotes, [asked.contract_id], importance)
    if g.answer and not any(asked.outermost for asked in g.open.values()):
        identity, agent, answer = g.answer
        last = [*safe_text.sentences(answer)][-1:]
        if last and last[0].endswith(("?", "？")):
            words = said(last, 200)
            yield claim_of(f"{safe_text.shown(agent)} asked {words.text}", "", words.quotes, [identity], 0.55)


def _lookups(g: Findings, counts: ClaimCounts) -> Iterator[Claim]:
    for calls in reversed(g.lookups.values()):
        newest_first = list(reversed(calls.series.values()))
        worth = sum(leaf.worth for one in newest_first for leaf in one.last.request.arguments if leaf.worth >= TELLING)
        claim, told = _together(newest_first, calls.count, 0.5 + 0.2 * min(1.0, worth / 6))
        counts.calls_in[claim] = told
        counts.unsaid["results"] += len(newest_first) - told
        yield claim


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
    brief = f"{head(newest.last.request)}{times} {', '.join(parts)}".rstrip()
    result, cites = _result_or_changes(newest)
    text = f"{brief}{': ' if cites else ' → '}{result.text}" if result.text else brief
    cites = [newest.last.contract_id, *cites, *reversed(cited)]
    return claim_of(text, brief, (*quotes, *result.quotes), cites, importance), told


def _result_or_changes(series: RepeatedCall) -> tuple[Wording, list[str]]:
    """The changes in the results of a repeated call, with the contracts to cite for them. Without changes, the last result."""
    if series.changed and (values := changed(series, 170)).text:
        return values, series.ends
    return (outcome(series.last, 170) if series.last.news else Wording("", ())), []


def _literals(g: Findings) -> Iterator[Claim]:
    by_worth = sorted(g.named.items(), key=lambda item: -item[1].worth)
    of_label: Counter[str] = Counter()
    for name, named in by_worth[:MOST_NAMES]:
        of_label[named.label] += 1
        if named.worth < _SELDOM or (named.label and of_label[named.label] > MOST_OF_LABEL):
            continue
        label = safe_text.shown(safe_text.first_line(named.label)[:24])
        text = f"{label} {safe_text.shown(name)}" if label else safe_text.shown(name)
        yield Claim(text, (named.contract_id,), (name,), round(0.84 - 0.64 * math.exp(-named.worth), 4))

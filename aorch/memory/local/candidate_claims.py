"""Turns findings into candidate claims with text, citations and importance, the newest first in each section."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from aorch.memory import safe_text, segments
from aorch.memory.block import ANSWERED, NO_RESPONSE, NOT_ANSWERED, REPORTED, RESULT_OF, Claim
from aorch.memory.budget import END, WORK, Item
from aorch.memory.differences import changed_lines
from aorch.memory.local.aim_claims import aim_claims
from aorch.memory.local.call_claims import BRIEF, ClaimCounts, brief_arguments, done, looked_up
from aorch.memory.local.calls import Call, Copied, Ending, Request
from aorch.memory.local.code_claims import code_claims
from aorch.memory.local.conclusions import conclusion_claim, last_conclusion
from aorch.memory.local.copied_answers import copy_claim
from aorch.memory.local.error_lines import telling_lines
from aorch.memory.local.failure_claims import failures, reported_errors
from aorch.memory.local.findings import Findings
from aorch.memory.local.sentence_claims import ANSWER, alike, decided, sentences
from aorch.memory.local.sentence_kinds import is_leaning, is_protocol
from aorch.memory.local.spoken_sentences import needs_no_answer, section_of
from aorch.memory.local.turn_claims import given_claim, idle_claims, signal_claim
from aorch.memory.local.wording import (
    OPEN_WIDTH,
    claim_of,
    fully,
    head,
    joined,
    said,
)

_MOST_NAMES, _MOST_OF_LABEL, _MOST_WAITING = 120, 12, 40
"""Number of exact strings, of those with one label, and of unanswered REQUESTs that are weighed. A series displaces wishes."""
_ASKED, _QUESTION = 320, 0.846
"""Characters of the last question of an agent, with the sentence before it, and its importance: the work waits for the answer."""
_DIFFERENCE = 0.9602
"""Importance of an end that is a difference of files, the outcome of all edits; the last program that was run comes before it."""
_END_BRIEF, _OUTPUT = 60, 120
"""Characters of the end of the session in brief, and of one that is the output of a call, whose claim has more of it."""


def candidate_claims(findings: Findings, intent: str | None) -> tuple[list[Item], ClaimCounts]:
    """All candidate claims with their sections, and the counts of what they leave out."""
    counts = ClaimCounts()
    question = f"{intent or ''} {_aim_text(findings)}"
    aims = list(aim_claims(findings.aim))
    items = [("aims", claim) for claim in aims]
    items += [("decisions", claim) for claim in decided(findings.decided, findings.recurs)]
    items += [("decisions", claim) for claim in done(findings, counts)]
    items += [("failures", claim) for claim in failures(findings)]
    items += [("open_points", claim) for claim in _open_points(findings, counts)]
    conclusion = last_conclusion(findings)
    spoken, unsaid = sentences(findings, question, aims, conclusion)
    items += spoken
    if conclusion is not None:
        items.append(("results", conclusion_claim(conclusion)))
    counts.unsaid += unsaid
    items += [("results", claim) for claim in reported_errors(findings)]
    items += [("results", claim) for claim in looked_up(findings, counts)]
    runs = (*code_claims(findings), *idle_claims(findings), *given_claim(findings), *signal_claim(findings))
    items = _with_end(findings, [*items, *(("results", claim) for claim in runs)])
    items += [("literals", claim) for claim in literal_claims(findings)]
    return items, counts


def _with_end(g: Findings, items: list[Item]) -> list[Item]:
    """`items`, among which the end of the session is vital: the last exchange with a person, and the answer before it."""
    if g.copied is not None:
        items = _with_copy(g, g.copied, items)
    elif g.end is not None and _is_missing(g.end, items):
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
        if said_there and not changed_lines(g.end.text if g.end else ""):
            place = max(said_there, key=lambda n: items[n][1].importance)
            section, claim = items[place]
            items[place] = section, replace(_shorter(claim), importance=max(claim.importance, importance))
    if g.end is not None and g.end.output_of is not None:
        items = [(section, _with_source(claim, g.end, g.end.output_of)) for section, claim in items]
    return items


def _is_missing(end: Ending, items: Sequence[Item]) -> bool:
    """Whether the end says something, and no claim cites it."""
    cites_it = any(end.contract_id in claim.contract_ids for _, claim in items)
    return not cites_it and bool(safe_text.sentence_pieces(end.text))


def _with_source(claim: Claim, end: Ending, call: Call) -> Claim:
    """The claim of the end with the call whose output it is; another claim as it is."""
    if claim.contract_ids[:1] != (end.contract_id,) or REPORTED in claim.text.partition("«")[0]:
        return claim
    who, given = f"{safe_text.shown(end.agent)} {ANSWERED} {safe_text.shown(end.whom)}", brief_arguments(call.request)
    source = f" ({RESULT_OF} {joined(head(call.request), given.text)})"
    lines = _words_of(end)
    is_difference = bool(changed_lines(end.text))
    words, short = (said(lines, room) for room in ((OPEN_WIDTH, BRIEF) if is_difference else (_OUTPUT, _END_BRIEF)))
    ids, quotes = (end.contract_id, call.contract_id, call.request.contract_id), (*words.quotes, *given.quotes)
    text, brief = f"{who}: {words.text}{source}", f"{who}: {short.text}"
    return claim_of(text, brief, quotes, ids, claim.importance, claim.number)


def _shorter(claim: Claim) -> Claim:
    """`claim` with a brief text that leaves room for other claims."""
    shown = claim.brief or claim.text
    who, _, words = shown.partition(": «")
    best = next((quote for quote in claim.quotes if words.startswith(safe_text.shown(quote)[:20])), "")
    announced = claim.quotes[claim.quotes.index(best) + 1 :] if best.endswith((":", "：")) else ()
    brief = f"{who}: {said([best, *announced], _END_BRIEF).text}"
    return replace(claim, brief=brief) if best and len(brief) < len(shown) else claim


def _end(end: Ending) -> Claim:
    changes = changed_lines(end.text)
    who, lines = safe_text.shown(end.agent), changes or list(safe_text.sentence_pieces(end.text))[:12]
    words = said(lines, OPEN_WIDTH)
    brief = f"{who}: {said(lines, BRIEF).text}"
    importance = _DIFFERENCE if changes else END
    return claim_of(f"{who}: {words.text}", brief, words.quotes, [end.contract_id], importance, end.number)


def _words_of(end: Ending) -> Sequence[str]:
    """The first lines of the end, or the lines that it changes if it is a difference of files."""
    return changed_lines(end.text) or list(safe_text.lines(end.text))[:12]


def _with_copy(g: Findings, copied: Copied, items: list[Item]) -> list[Item]:
    """`items` with the answer to a person instead of the claim of the agent whose words it has."""
    copy, who = copy_claim(copied), f"{safe_text.shown(copied.author)}: «"
    of_author = [item for item in items if item[1].contract_ids[0] == copied.first_id and item[1].text.startswith(who)]
    of_code = [n for n, (_, claim) in enumerate(items) if claim.text.startswith(f"{copy.text}: «")]
    if of_code and not of_author:
        section, code = items[of_code[0]]
        return [*items[: of_code[0]], (section, replace(code, importance=END)), *items[of_code[0] + 1 :]]
    if not of_author:
        is_end = g.end is not None and g.end.contract_id == copied.contract_id
        is_error = any(copied.first_id in failure.contract_ids for failure in g.failures.values())
        return [*items, ("results", _in_words(copy, g.end, is_error=is_error) if g.end and is_end else copy)]
    best = max(of_author, key=lambda item: item[1].importance)
    text, brief = (f"{copy.text}{shown[len(who) - 3 :]}" if shown else "" for shown in (best[1].text, best[1].brief))
    whole = replace(
        copy,
        text=text,
        brief=brief,
        quotes=best[1].quotes,
        importance=max(END, best[1].importance),
        places=best[1].places,
    )
    return [*(item for item in items if item is not best), ("results", whole)]


def _in_words(copy: Claim, end: Ending, *, is_error: bool) -> Claim:
    """`copy` with the words of the answer, even if they are only the output of a program, or its error."""
    lines = _words_of(end)
    pieces = safe_text.sentence_pieces(end.text)
    if is_error:
        lines = [piece for pieces in telling_lines(end.text) for piece in pieces]
    elif all(map(is_protocol, pieces)):
        lines = list(pieces[:1])
    words, short = said(lines, OPEN_WIDTH), said(lines, _END_BRIEF)
    if not words.quotes:
        return copy
    return replace(copy, text=f"{copy.text}: {words.text}", brief=f"{copy.text}: {short.text}", quotes=words.quotes)


def _aim_text(g: Findings) -> str:
    if g.aim is None:
        return ""
    return g.aim.said or " ".join(leaf.text for leaf in g.aim.arguments)


def _open_points(g: Findings, counts: ClaimCounts) -> Iterator[Claim]:
    all_waiting = [asked for asked in g.open.values() if g.waiting(asked.contract_id)]
    waiting = _latest(all_waiting[-_MOST_WAITING:])
    counts.unsaid["open_points"] += len(all_waiting) - len(waiting)
    for asked in reversed(waiting):
        if asked.said:
            if g.end is not None and g.end.contract_id == asked.contract_id and needs_no_answer(asked.said):
                continue  # the closing words of a person
            if needs_no_answer(asked.said):
                counts.unsaid["open_points"] += 1
                continue
            words = said(safe_text.sentence_pieces(asked.said), OPEN_WIDTH)
            text, importance = f"{safe_text.shown(asked.from_agent)} said {words.text}, {NOT_ANSWERED}", 0.6
        else:
            words = fully(asked.arguments, OPEN_WIDTH)
            text, importance = f"{head(asked)} {words.text}: {NO_RESPONSE}", 0.75
        yield claim_of(text, "", words.quotes, [asked.contract_id], importance, asked.number)
    if g.answer and not any(asked.outermost for asked in g.open.values()):
        identity, agent, answer, number = g.answer
        last = [*safe_text.sentences(answer)][-2:]
        if last and last[-1].endswith(("?", "？")):
            words = said(last[0 if is_leaning(last[-1]) else -1 :], _ASKED)
            yield claim_of(
                f"{safe_text.shown(agent)} asked {words.text}", "", words.quotes, [identity], _QUESTION, number
            )


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

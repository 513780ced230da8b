"""A record that is short enough is shown as it is: a claim for each exchange, in full, in the order of the work."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from aorch import jsonio
from aorch.memory import contract_content, safe_text
from aorch.memory.block import NAMED_ERROR, NO_RESPONSE, NOT_ANSWERED, TO, WENT_WELL
from aorch.memory.budget import END, SPARE, Item
from aorch.memory.contract_content import Contract
from aorch.memory.literals import found
from aorch.memory.local.aim_claims import brief_aim, quotes_in_order
from aorch.memory.local.call_claims import SHORT_VALUE, brief_arguments
from aorch.memory.local.call_kinds import digest, failure_kind
from aorch.memory.local.calls import Call, Request, is_command
from aorch.memory.local.collecting import MOST_CITES
from aorch.memory.local.copied_answers import copy_claim
from aorch.memory.local.failure_claims import failure_brief
from aorch.memory.local.findings import Findings
from aorch.memory.local.sentence_claims import NEXT_STEP, RECENT, decided
from aorch.memory.local.sentence_kinds import LONGEST_SENTENCE, waits
from aorch.memory.local.spoken_sentences import (
    is_phrase,
    meaningful_words,
    needs_no_answer,
    read,
    section_of,
    spoken_worth,
)
from aorch.memory.local.wording import Wording, claim_of, head, said

_ALL = 1_000_000
"""Characters of a wording that is not shortened."""
_FAILED, _CHANGED, _UNKNOWN, _READ = 0.97, 0.96, 0.7, 0.55
_LAST = 0.9
_LAST_CALL = 0.86
_OPEN_CALL, _OPEN_SPEECH = 0.75, 0.6
_EARLIER = 0.6


def record_items(g: Findings) -> list[Item]:
    """Claims that contain every exchange of a session whose contracts were kept; empty if they were not."""
    return list(_Record(g).items()) if g.record else []


class _Record:
    """Makes the claims. Calls that failed with the same arguments and the same error share one."""

    def __init__(self, g: Findings) -> None:
        self._g = g
        self._record = g.record or []
        newest = {
            meaningful_words(one.sentence): one for one in sorted(g.decided, key=lambda one: (one.number, -one.order))
        }
        self._stated = {(one.contract_id, one.sentence): one in newest.values() for one in g.decided}
        self._payloads = {one.made.contract_id: one.contract.get("payload") for one in self._record}
        self._speeches = {identity: contract_content.speech(payload) for identity, payload in self._payloads.items()}
        calls = [(one.contract, one.made) for one in self._record if isinstance(one.made, Call)]
        good = [call for contract, call in calls if not contract_content.failed(contract) and self._is_call(call)]
        self._well = {(call.request.capability, call.request.digest): call for call in good}
        self._equal: dict[Any, list[Call]] = {}
        for contract, call in calls:
            if not contract_content.failed(contract) and self._is_call(call):
                self._equal.setdefault(_outcome(contract, call), []).append(call)
        commands = [call for call in good if is_command(call.request.arguments)]
        self._last_calls = {call.number for call in (*good[-1:], *commands[-1:])}
        self._newest_of_kind: dict[Any, int] = {}
        self._alike: dict[Any, list[Call]] = {}
        for contract, call in calls:
            if contract_content.failed(contract):
                kind, _ = failure_kind(call.request.capability, contract)
                self._newest_of_kind[kind] = call.number
                self._alike.setdefault((kind, call.request.digest), []).append(call)

    def items(self) -> Iterator[Item]:
        """The claims, the newest exchange first, and the decisions that are stated in arguments and results."""
        for contract, made in reversed(self._record):
            if isinstance(made, Request):
                yield from self._request(contract, made)
            elif contract_content.failed(contract):
                yield from self._failure(contract, made)
            else:
                yield from self._response(contract, made)
        for recorded in reversed(self._record):
            yield from self._decisions_of(recorded.made.contract_id)

    def _request(self, contract: Contract, asked: Request) -> Iterator[Item]:
        """A REQUEST: what somebody says, or a call without a RESPONSE."""
        g, ids, payload = self._g, [asked.contract_id], contract.get("payload")
        if g.aim is asked and not self._is_said(asked):
            words, brief = values(payload, labelled=True), brief_arguments(asked)
            texts = f"{head(asked)} {words.text}".rstrip(), f"{head(asked)} {brief.text}"
            yield "aims", claim_of(*texts, (*words.quotes, *brief.quotes), ids, 1.0, asked.number)
        if not self._is_said(asked):
            if asked.contract_id in g.open:
                words = values(payload, labelled=True)
                text = f"{head(asked)} {words.text}".rstrip() + f": {NO_RESPONSE}"
                yield "open_points", claim_of(text, "", words.quotes, ids, _OPEN_CALL, asked.number)
            return  # otherwise the claim of the RESPONSE contains it
        words = _spoken(payload)
        if asked.contract_id in g.open and g.waiting(asked.contract_id) and not needs_no_answer(asked.said):
            text = f"{safe_text.shown(asked.from_agent)} said {words.text}, {NOT_ANSWERED}"
            yield "open_points", claim_of(text, "", words.quotes, ids, _OPEN_SPEECH, asked.number)
        if g.aim is not None and asked.contract_id == g.aim.contract_id:
            brief = brief_aim(asked.said)
            quotes = quotes_in_order(asked.said, words.quotes, brief.quotes)
            yield "aims", claim_of(words.text, brief.text, quotes, ids, 1.0, asked.number)
            yield from self._decisions_of(asked.contract_id)
        elif not (asked.contract_id in g.open and g.waiting(asked.contract_id) and not needs_no_answer(asked.said)):
            other = asked.outermost and g.aim is not None and asked.capability != g.aim.capability
            yield from self._speech(
                asked.from_agent,
                payload,
                asked.contract_id,
                asked.number,
                by_caller=asked.outermost,
                asks=asked.capability if other else True,
            )

    def _response(self, contract: Contract, call: Call) -> Iterator[Item]:
        """A RESPONSE: what somebody answers, or the result of a call. Equal calls with equal results share a claim."""
        asked, ids, result = call.request, [call.contract_id, call.request.contract_id], contract.get("result")
        is_asked = self._is_said(asked)
        if self._g.copied is not None and self._g.copied.contract_id == call.contract_id:
            yield "results", copy_claim(self._g.copied)
            return
        if contract_content.speech(result) and (is_asked or not asked.arguments):
            yield from self._speech(asked.agent, result, call.contract_id, call.number)
            return
        if is_asked:
            made = values(result)
            ended = "empty" if call.is_empty else "completed"
            text = f"{head(asked)} → {made.text or ended}"
            section = "decisions" if asked.changes else "results"
            yield section, claim_of(text, "", made.quotes, ids, _READ if made.text else SPARE / 2, call.number)
            return
        equal = self._equal.get(_outcome(contract, call), [call])
        if equal[-1] is not call:
            return
        name = f"{head(asked)}{f' ×{len(equal)}' if len(equal) > 1 else ''}"
        given, made = values(self._payloads.get(asked.contract_id), labelled=True), values(result)
        short = brief_arguments(asked)
        importance = _READ if asked.changes is False else _CHANGED if asked.changes else _UNKNOWN
        if call.number in self._last_calls:
            importance = max(importance, _LAST_CALL)
        named = NAMED_ERROR if call.error and made.text[1:].startswith(safe_text.shown(call.error)) else ""
        ended = f"{named}{made.text}" or ("empty" if call.is_empty else "completed")
        text = f"{f'{name} {given.text}'.rstrip()} → {ended}"
        brief = f"{name} {short.text}".rstrip()
        if made.text and len(made.text) <= SHORT_VALUE:
            brief = f"{brief} → {ended}"
        quotes = (*given.quotes, *made.quotes, *short.quotes)
        section = "decisions" if asked.changes or (asked.changes is None and asked.arguments) else "results"
        shown = call if call.number in self._last_calls else equal[0]
        yield section, claim_of(text, brief, quotes, [shown.contract_id, *ids], importance, shown.number)

    def _failure(self, contract: Contract, call: Call) -> Iterator[Item]:
        """A failed call, with those that failed in the same way."""
        asked = call.request
        kind, lines = failure_kind(asked.capability, contract)
        alike = self._alike[kind, asked.digest]
        if alike[-1] is not call:
            return
        later = self._well.get((asked.capability, asked.digest))
        after = f"; {WENT_WELL}" if later and later.number > call.number else ""
        given = values(self._payloads.get(asked.contract_id), labelled=True)
        error = contract.get("error") or contract.get("result") or contract.get("status")
        told = values(error if isinstance(error, str) else jsonio.encode(error), quoted=True)
        ended = "was cancelled" if contract.get("status") == "cancelled" else "failed"
        times = f" ×{len(alike)}" if len(alike) > 1 else ""
        what = f"{head(asked)}{' with ' if given.text else ''}{given.text} {ended}{times}"
        brief, quotes = failure_brief(asked, lines, ended, times)
        ids = [
            alike[0].contract_id,
            call.contract_id,
            *([later.contract_id] if later and after else []),
            asked.contract_id,
        ]
        ids += [one.contract_id for one in alike[-MOST_CITES:-1]]
        importance = _FAILED if self._newest_of_kind[kind] == call.number else _EARLIER
        text = f"{what}: {told.text or 'no reason given'}{after}"
        yield (
            "failures",
            claim_of(text, brief, (*given.quotes, *told.quotes, *quotes), ids, importance, alike[0].number),
        )

    def _speech(
        self, who: str, payload: Any, identity: str, number: int, *, by_caller: bool = False, asks: bool | str = False
    ) -> Iterator[Item]:
        """Claims for what somebody says: one for each stated decision, and for the sentences between them. `asks`: it is in a
        REQUEST; if the capability says what it is for, that.
        """
        answers = self._g.answer is not None and self._g.answer[0] == identity
        text = contract_content.speech(payload)
        beside = _beside(payload, text)
        name = safe_text.shown(f"{who}{TO}{asks}" if isinstance(asks, str) else who)
        polite = is_phrase(text)
        pieces = safe_text.sentence_pieces(text)
        for place, (decision, group) in enumerate(groupby(pieces, lambda piece: self._decides(piece, identity)), 1):
            together = list(group)
            if decision is False:  # a later claim contains the same decision
                continue
            words = said(together, _ALL)
            weighed = [(_worth(one, by_caller, bool(asks)), -n, one) for n, one in enumerate(together[:40])]
            worth, _, best = max(weighed)
            importance = (
                SPARE / 2 if polite else _LAST if answers or decision else min(0.84, 0.25 + 0.6 * max(0.0, worth))
            )
            if number > self._g.count - RECENT and any(map(waits, together)):
                importance = max(importance, NEXT_STEP)
            if self._g.end is not None and self._g.end.contract_id == identity:
                importance = max(importance, END)
            extra = f" ({beside.text})" if beside.text else ""
            section = "decisions" if decision else section_of(bool(asks))
            claim_text = f"{name}: {words.text}{extra}"
            quotes = (*words.quotes, *beside.quotes)
            yield (
                section,
                claim_of(
                    claim_text, f"{name}: {said([best], 140).text}", quotes, [identity], importance, number, [place]
                ),
            )
            beside = Wording("", ())

    def _is_said(self, asked: Request) -> bool:
        """Whether a REQUEST is what somebody says: text, unless it is the text of an act (`transfer_to_person`)."""
        is_act = asked.changes is True and not asked.outermost
        return bool(self._speeches.get(asked.contract_id)) and not is_act

    def _is_call(self, call: Call) -> bool:
        return bool(call.request.arguments) and not self._is_said(call.request)

    def _decisions_of(self, identity: str) -> Iterator[Item]:
        """The decisions that a contract states and that no claim contains yet."""
        stated = [one for one in self._g.decided if one.contract_id == identity]
        new = [one for one in stated if self._stated.pop((identity, one.sentence), False)]
        yield from (("decisions", claim) for claim in decided(new))

    def _decides(self, piece: str, identity: str) -> bool | None:
        """Whether the sentence is the newest of equal decisions; None if it is no decision."""
        if not self._stated:  # most sessions
            return None
        key = identity, safe_text.clip(safe_text.without_marking(piece), LONGEST_SENTENCE)
        return self._stated.pop(key, None)


def _outcome(contract: Contract, call: Call) -> tuple[str, int, int]:
    return call.request.capability, call.request.digest, digest(contract.get("result"))


def _spoken(payload: Any) -> Wording:
    """What was said, and the other values beside it."""
    text = contract_content.speech(payload)
    words = said(safe_text.sentence_pieces(text), _ALL)
    beside = _beside(payload, text)
    return words if not beside.text else Wording(f"{words.text} ({beside.text})", (*words.quotes, *beside.quotes))


def _beside(payload: Any, text: str) -> Wording:
    others = {key: value for key, value in payload.items() if value != text} if isinstance(payload, dict) else {}
    return values(others, labelled=True)


def _worth(piece: str, by_caller: bool, asks: bool) -> float:
    sentence = safe_text.without_marking(piece)
    if by_caller or len(sentence) > LONGEST_SENTENCE:
        return spoken_worth(sentence, found(sentence), by_caller)
    return read(sentence, (), by_caller, asks).worth


def values(value: Any, *, labelled: bool = False, quoted: bool = False) -> Wording:
    """All scalars in `value` with their keys, in full. A single value has no label unless `labelled`."""
    scalars = list(contract_content.scalars(value))
    parts: list[str] = []
    quotes: list[str] = []
    before: tuple[str, int] | None = None
    for top, key, group, item in scalars:
        if isinstance(item, str):
            pieces = list(safe_text.lines(item))
            plain = len(pieces) == 1 and " " not in pieces[0] and not quoted
            shown = safe_text.shown(pieces[0]) if plain else said(pieces, _ALL).text if pieces else ""
            quotes += pieces
        else:
            shown = jsonio.encode(item) if isinstance(item, bool | int | float) else f"{item}"
        if not shown:
            continue
        label = safe_text.shown(safe_text.first_line(key if before == (top, group) or top == key else f"{top} {key}"))
        if before == (top, group) and key == top:
            label = ""
        show_label = label and (labelled or len(scalars) > 1)
        between = "" if not parts else " " if before == (top, group) else "; " if before and before[0] == top else ", "
        parts.append(f"{between}{f'{label} ' if show_label else ''}{shown}")
        before = (top, group)
    return Wording("".join(parts), tuple(quotes))

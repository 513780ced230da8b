"""Checks the claims of the local compressor against the contracts that they cite.

The local compressor writes its claims itself, so they can be checked more strictly than a model's: the speaker, the outcome of
a call, the number of times, the section, and whether every quotation is listed in `quotes`.
"""

import re
from collections.abc import Iterator

from aorch.memory import contract_content, safe_text
from aorch.memory.block import (
    ANSWERED,
    CONCLUDED,
    DIFFERENT,
    NAMED_ERROR,
    NO_RESPONSE,
    NOT_ANSWERED,
    REPORTED,
    RESULT_OF,
    TO,
    WITH_WORDS,
    Claim,
    quotes_after,
)
from aorch.memory.contract_content import failed, speech
from aorch.memory.covered_contracts import Contract, CoveredContracts, changes, line, shown_capability, strings_of
from aorch.memory.literals import found
from aorch.memory.local.error_lines import reported_error, reported_in
from aorch.memory.local.sentence_kinds import concludes, decides

_SAYS = re.compile(
    rf"^(?P<who>[^«»]{{0,200}}?)(?: {ANSWERED} (?P<whom>[^«»:]{{1,80}}))?"
    rf"(?:: | said | asked | {REPORTED}: | {CONCLUDED}: )(?=«)"
)
_COPIES = re.compile(
    rf"^(?P<who>[^«»]+) {ANSWERED} (?P<whom>[^«»]+) {WITH_WORDS} (?P<author>[^«»]+?)(?:: (?P<words>«.*))?$"
)
_QUOTATION = re.compile(r"«([^«»]*)»")


def faults(section: str, claim: Claim, covered: CoveredContracts) -> Iterator[str]:
    """The mismatches of a claim, each as the end of a sentence."""
    yield from _quotations(claim)
    requests = [covered.requests[each] for each in claim.contract_ids if each in covered.requests]
    responses = [covered.responses[each] for each in claim.contract_ids if each in covered.responses]
    yield from _names(claim, [*requests, *responses])
    if section == "literals":
        return
    if section == "failures":
        yield from _failure(claim, covered, responses)
        return
    if copies := _COPIES.match(claim.text):
        yield from _copy(copies, responses, claim)
        return
    if fault := _reported(claim, [*requests, *responses]):
        yield fault
    if NAMED_ERROR in _SAYS.sub("", _QUOTATION.sub("", claim.text)) and not any(map(_names_error, responses)):
        yield "says that an output names an error, but it does not"
    if quotes_after(claim, CONCLUDED) and not any(map(concludes, claim.quotes)):
        yield "quotes no conclusion"
    if f" ({RESULT_OF} " in _QUOTATION.sub("", claim.text) and not _same_text(responses):
        yield "says that an answer is the result of a call, but they differ"
    if fault := _speaker(claim, covered):
        yield fault
    if fault := _misplaced(section, claim, requests, responses):
        yield fault


def _quotations(claim: Claim) -> Iterator[str]:
    """Every quotation in the text must be in `quotes`, and each of `quotes` must be in the text or the brief text."""
    quotes = [_even(safe_text.shown(quote)) for quote in claim.quotes]
    for wording in filter(None, (claim.text, claim.brief)):
        for quotation in _QUOTATION.findall(wording):
            if not _consists_of(_even(quotation), quotes):
                yield f"quotes {quotation[:60]!r}, which is not among its quotes"
    wordings = _even(f"{claim.text}\n{claim.brief}")
    for quote in quotes:
        if quote not in wordings:
            yield f"does not contain {quote[:60]!r}, which is among its quotes"


def _even(text: str) -> str:
    """`text` with each `<` and each backtick replaced. Only some are in a prompt, which depends on where a quotation is cut."""
    return text.replace("<", "‹").replace("`", "'")


def _consists_of(quotation: str, quotes: list[str]) -> bool:
    """Whether `quotation` consists of some of these quotes in sequence; the last one may be cut, and lines left out (`…`)."""
    waiting, seen = [quotation.strip()], set[str]()
    while waiting:
        rest = waiting.pop()
        if rest in ("", "…") or (rest.endswith("…") and any(one.startswith(rest[:-1]) for one in quotes)):
            return True
        if rest not in seen:
            seen.add(rest)
            after = [rest[len(one) :].strip() for one in quotes if one and rest.startswith(one)]
            waiting += [*after, *(one.removeprefix("… ") for one in after)]
    return False


def _names(claim: Claim, contracts: list[Contract]) -> Iterator[str]:
    """Each exact string outside quotations must occur in a cited contract."""
    named = {name for wording in (claim.text, claim.brief) for name in found(_QUOTATION.sub(" ", wording))}
    if not named or len(contracts) < len(claim.contract_ids):
        return  # verify.py reports citations of contracts that do not exist
    there = "\n".join(safe_text.shown(string) for one in contracts for string in strings_of(one))
    for name in sorted(named):
        if name not in there:
            yield f"contains {name!r}, which is in none of the contracts that it cites"


def _speaker(claim: Claim, covered: CoveredContracts) -> str:
    """`ann: «…»`: the first quotation must be from ann."""
    says = _SAYS.match(claim.text)
    if says is None or not claim.contract_ids:
        return ""
    first = claim.contract_ids[0]
    contract = covered.requests.get(first) or covered.responses.get(first)
    if contract is not None and says["whom"] not in (None, heard := safe_text.shown(line(contract["to_agent"]))):
        return f"names {says['whom']}; the answer went to {heard}"
    if contract is None or says["who"] == (speaker := safe_text.shown(line(contract["from_agent"]))):
        return ""
    who, _, capability = says["who"].rpartition(TO)
    if who == speaker and safe_text.shown(line(contract["capability"])).startswith(capability):
        return ""
    return f"names {says['who']} as the speaker; it was {contract['from_agent']}"


def _reported(claim: Claim, contracts: list[Contract]) -> str:
    """`ann reported an error: «…»`: the quotation must be the error of a text that it cites."""
    if not quotes_after(claim, REPORTED):
        return ""
    errors = (reported_error(text) for one in contracts for text in contract_content.all_strings(one.get("result")))
    return "" if any(error and error.startswith(claim.quotes[:1]) for error in errors) else "quotes no error"


def _names_error(response: Contract) -> bool:
    return bool(reported_in([*contract_content.whole_strings(response["result"])], of_command=True))


def _copy(copies: re.Match[str], responses: list[Contract], claim: Claim) -> Iterator[str]:
    """`bot answered ann with the words of cy`: the cited RESPONSEs of bot to ann and of cy must have the same text."""
    names = [safe_text.shown(line(one["from_agent"])) for one in responses]
    if len(responses) != 2 or names != [copies["who"], copies["author"]]:
        yield "does not name the agents of the two RESPONSEs that it cites"
    elif safe_text.shown(line(responses[0]["to_agent"])) != copies["whom"]:
        yield f"names {copies['whom']}; the answer went to {responses[0]['to_agent']}"
    elif any(quote not in speech(responses[0]["result"]) for quote in claim.quotes):
        yield "quotes words that are not in the answer"
    elif speech(responses[0]["result"]).strip() != _words_of(responses[1]):
        yield "says that two answers have the same words, but they differ"


def _words_of(response: Contract) -> str:
    """What an agent said, or the error with which its call failed."""
    error = response["error"]
    return (speech(response["result"]) or (error if isinstance(error, str) else "")).strip()


def _same_text(responses: list[Contract]) -> bool:
    """Whether the results of two RESPONSEs have the same text."""
    texts = [[*contract_content.whole_strings(one["result"])] for one in responses]
    return len(texts) == 2 and len(texts[1]) == 1 and texts[1][0].strip() in (text.strip() for text in texts[0])


def _failure(claim: Claim, covered: CoveredContracts, responses: list[Contract]) -> Iterator[str]:
    bad = [one for one in responses if failed(one)]
    if not bad:
        yield "is listed as a failure, but no cited call failed"
        return
    kind = covered.failure_kind(bad[0])
    in_all, alike = covered.failures[kind], covered.failed_calls[kind, covered.digest(bad[0])]
    verb = " was cancelled" if bad[0]["status"] == "cancelled" else " failed"
    counts = {in_all, alike} if len({covered.digest(one) for one in bad}) == 1 else {in_all}
    told = _QUOTATION.sub("", claim.text)
    for there in counts:
        times = f" ×{there}" if there > 1 else ""
        if claim.brief and f"{times}: " not in claim.brief:
            continue
        if f"{verb}{times} ({DIFFERENT} " in told:
            return
        if f"{verb}{times}: " in told:
            if there > alike and _names_arguments(told, bad[0]):
                yield f"says that {there} calls failed with the same arguments; {alike} did"
            return
    yield f"does not say that it{verb}{f' ×{in_all}' if in_all > 1 else ''} in its text and its brief text"


def _names_arguments(told: str, response: Contract) -> bool:
    """Whether the text of a failure, without quotations, begins with the call and its arguments."""
    agent = safe_text.shown(line(response["from_agent"]))
    return told.removeprefix(shown_capability(response)).removeprefix(f" ({agent})").startswith(" with ")


def _misplaced(section: str, claim: Claim, requests: list[Contract], responses: list[Contract]) -> str:
    """Why the claim does not belong in its section; empty if it does."""
    says = _SAYS.match(claim.text)
    spoken, is_open = says is not None, claim.text.endswith((NOT_ANSWERED, NO_RESPONSE))
    if section == "open_points":
        asks = says and says[0].endswith(" asked ")
        right = requests if is_open else responses if asks else []
        return "" if right else "is listed as open, but names nothing that is open"
    if is_open:
        return "says that it is open, but is not listed as open"
    if section == "aims":
        return "" if requests and not spoken else "is listed as an aim, but comes from no REQUEST"
    if section == "preferences":
        return "" if spoken and requests else "is listed as a preference, but no REQUEST states it"
    if spoken:
        if section == "decisions" and not any(decides(quote, True) for quote in claim.quotes):
            return "is listed as a decision, but states none"
        return ""
    if any(failed(one) for one in responses):
        return f"is listed as {'done' if section == 'decisions' else 'found'}, but failed"
    calls = [one for one in requests if claim.text.startswith(shown_capability(one))]
    if not any(claim.text.startswith(shown_capability(one) or "call") for one in (*requests, *responses)):
        return "is not a call that it cites"
    if section == "results" and calls and all(changes(one) for one in calls):
        return "is listed as found, but changes something"
    return ""

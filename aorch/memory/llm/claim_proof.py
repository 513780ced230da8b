"""Checks a model's claims: their citations must exist, and their exact strings must occur in the cited contracts."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aorch.memory import safe_text
from aorch.memory.block import SECTIONS, Claim
from aorch.memory.literals import found, proper_names
from aorch.memory.llm.excerpts import Excerpt

MOST_CITES = 12
_LONGEST_TEXT = 300
_MOST_CLAIMS, _MOST_QUOTES = 60, 12
_COPIED = 5
"""From this number of consecutive words on, text copied from a contract is shown as a quotation."""

_RANGES = {
    "aims": (0.8, 1.0),
    "decisions": (0.7, 0.96),
    "failures": (0.75, 0.97),
    "results": (0.4, 0.84),
    "preferences": (0.5, 0.84),
    "open_points": (0.6, 0.85),
    "literals": (0.25, 0.8),
}
"""The range of importance in each section, on the same scale as that of the local compressor."""

_ASKED = ("aims", "preferences")
"""Sections that only a REQUEST can support: a wish in a result is not the wish of a person."""

_NUMBER = re.compile(r"\d[\d.,:]*\d|\d")
_AMOUNT = re.compile(r"([$€£~+-]{0,2}\d[\d.,]*)([^\W\d]{1,6}|%)")
_LABELS = re.compile(r"\s*[\[(]c\d+(?:[,;\s]+c\d+)*[\])]")
_QUOTATION = re.compile(r"«([^«»]+)»|“([^“”]+)”|\"([^\"]+)\"|`([^`]+)`")
_WORD = re.compile(r"[^\W\d_]{4,}")
_NO_MARKS = str.maketrans({"«": "", "»": ""})
_GROUNDED = 1 / 3


@dataclass
class CheckedClaims:
    """The claims that passed, with their sections; and for claims that failed, the reasons and the cited contracts."""

    claims: list[tuple[str, Claim]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    suspect_ids: dict[str, None] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of claims that passed; 1 if there were none."""
        made = len(self.claims) + self.faults.total()
        return len(self.claims) / made if made else 1.0


class _ClaimRejected(Exception):
    """A claim failed a check; the message is the reason."""


def check_claims(answer: Mapping[str, Any], excerpts: Sequence[Excerpt], into: CheckedClaims) -> None:
    """Check each claim of a model's answer against the excerpts that the model saw, and add it to `into`."""
    known = {excerpt.label: excerpt for excerpt in excerpts}
    for section in SECTIONS:
        listed = answer.get(section)
        for said in listed[:_MOST_CLAIMS] if isinstance(listed, list) else [] if listed is None else [listed]:
            try:
                into.claims.append((section, _checked(section, said, known)))
            except _ClaimRejected as unproven:
                into.faults[str(unproven)] += 1
                into.suspect_ids.update(dict.fromkeys(_cited_ids(said, known)))


def _checked(section: str, said: Any, known: Mapping[str, Excerpt]) -> Claim:
    if not isinstance(said, Mapping) or not isinstance(said.get("text"), str):
        raise _ClaimRejected("not a valid claim")
    cited = _cited(said.get("cites"), known)
    if section in _ASKED and not any(excerpt.asks for excerpt in cited):
        raise _ClaimRejected("a wish that no REQUEST states")
    if section == "aims" and not any(excerpt.outermost for excerpt in cited):
        raise _ClaimRejected("an aim that is a call within the session")
    if section == "results" and all(excerpt.asks for excerpt in cited):
        raise _ClaimRejected("a result that no RESPONSE contains")
    text = _LABELS.sub("", " ".join(safe_text.lines(said["text"])))
    if not text:
        raise _ClaimRejected("not a valid claim")
    if len(text) > _LONGEST_TEXT:
        text = safe_text.clip(text, _LONGEST_TEXT)
    haystack = "\n".join(piece for excerpt in cited for piece in excerpt.pieces)
    quotes = [*_quotes(said.get("quotes"), haystack)]
    _check_words(text, haystack, bool(quotes))
    low, high = _RANGES[section]
    if section == "literals":
        shown, kept = safe_text.shown(text), [_exact(text, quotes, haystack)]
    else:
        shown, copied = _marked(text, haystack)
        kept = sorted(dict.fromkeys((*copied, *quotes)), key=haystack.find)  # in the order of the contracts
        if shown.startswith("«") and shown.find("»") >= len(shown) - 2:
            shown = f"{safe_text.shown(cited[0].from_agent)}: {shown}"  # the claim only repeats an agent
    ids = tuple(excerpt.contract_id for excerpt in cited)
    return Claim(shown, ids, tuple(kept), round(low + (high - low) * _importance(said.get("importance")), 3))


def _cited(cites: Any, known: Mapping[str, Excerpt]) -> list[Excerpt]:
    labels = [cites] if isinstance(cites, str) else cites
    if not isinstance(labels, list) or not labels:
        raise _ClaimRejected("no citation")
    if not all(isinstance(label, str) and label.strip("[] ") in known for label in labels[:MOST_CITES]):
        raise _ClaimRejected("a citation that does not exist")
    return [known[label] for label in dict.fromkeys(label.strip("[] ") for label in labels[:MOST_CITES])]


def _cited_ids(said: Any, known: Mapping[str, Excerpt]) -> Iterator[str]:
    cites = said.get("cites") if isinstance(said, Mapping) else None
    for label in cites[:MOST_CITES] if isinstance(cites, list) else []:
        if isinstance(label, str) and label in known:
            yield known[label].contract_id


def _quotes(quotes: Any, haystack: str) -> Iterator[str]:
    """The exact pieces of the quotes, each of which must occur in a cited contract."""
    for quote in quotes[:_MOST_QUOTES] if isinstance(quotes, list) else []:
        for piece in safe_text.lines(quote) if isinstance(quote, str) else ():
            if piece not in haystack:
                raise _ClaimRejected("a quotation that is in no cited contract")
            yield piece


def _exact(text: str, quotes: Sequence[str], haystack: str) -> str:
    """The exact string that a literal consists of, or that follows its label."""
    for string in (text, *quotes):
        if text.endswith(string) and string in haystack:
            return string
    raise _ClaimRejected("an exact string that is in no cited contract")


def _check_words(text: str, haystack: str, quoted: bool) -> None:
    folded = haystack.lower()
    for spans in _QUOTATION.findall(text):
        if not all(span in haystack for span in spans):
            raise _ClaimRejected("a quotation that is in no cited contract")
    for word in found(text):
        if not (_occurs(word, haystack) or _amount_occurs(word, haystack)):
            raise _ClaimRejected("an identifier that is in no cited contract")
    for number in _NUMBER.findall(text):
        if not _number_occurs(number, haystack):
            raise _ClaimRejected("a number that is in no cited contract")
    if not all(name.lower() in folded for name in proper_names(text)):
        raise _ClaimRejected("a name that is in no cited contract")
    words = {word.lower()[:5] for word in _WORD.findall(text)}
    if not quoted and words and sum(word in folded for word in words) < _GROUNDED * len(words):
        raise _ClaimRejected("too few of its words are in the cited contracts")


def _occurs(word: str, haystack: str) -> bool:
    before = r"(?<!\w)" if word[0].isalnum() else ""
    after = r"(?!\w)" if word[-1].isalnum() else ""
    return re.search(f"{before}{re.escape(word)}{after}", haystack) is not None


def _amount_occurs(word: str, haystack: str) -> bool:
    """Whether an amount occurs, with or without a space before its unit."""
    parts = _AMOUNT.fullmatch(word)
    if parts is None:
        return False
    return re.search(rf"(?<![\d.,]){re.escape(parts[1])}\s?{re.escape(parts[2])}(?!\w)", haystack) is not None


def _number_occurs(number: str, haystack: str) -> bool:
    plain = re.escape(number.replace(",", "")) if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", number) else ""
    either = f"(?:{re.escape(number)}|{plain})" if plain else re.escape(number)
    return re.search(rf"(?<![\d])(?<!\d[.,]){either}(?!\d|[.,]\d)", haystack) is not None


def _importance(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return 0.5
    return min(1.0, max(0.0, float(value)))


def _marked(text: str, haystack: str) -> tuple[str, list[str]]:
    """`text` with its copied parts as quotations, and the exact strings of these parts."""
    folded = haystack.lower()
    bare = text.translate(_NO_MARKS)
    words = list(re.finditer(r"\S+", bare))
    shown: list[str] = []
    copied: list[str] = []
    place = 0
    while place < len(words):
        end = place
        while end < len(words) and bare[words[place].start() : words[end].end()].lower() in folded:
            end += 1
        span = bare[words[place].start() : words[max(place, end - 1)].end()]
        if end - place >= _COPIED:
            shown.append(f"«{safe_text.shown(span)}»")
            copied += [span] if span in haystack else []
            place = end
        else:
            shown.append(safe_text.shown(words[place].group()))
            place += 1
    return " ".join(shown), copied

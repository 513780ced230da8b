"""Shortens the text of a claim to a length between its brief text and its full one."""

import re

from aorch.memory import safe_text
from aorch.memory.block import Claim

_QUOTATION = re.compile(r"«([^«»]*)»")
_SAYS = re.compile(r"[^«»]*: «[^«»]*»(?: «[^«»]*»)+")
"""The text of several sentences of one agent."""
_SPEECH = ": "
_LEAST = 30
"""Characters that a quotation keeps, or its text is not shortened; and by which a longer wording is worth its space."""
_START = 65
"""Of a quotation of a command or a result, the percentage that its start takes; its end takes the rest."""


def shortened(claim: Claim, limit: int) -> str:
    """The text of `claim` in at most `limit` characters; empty if that is not worth more than the brief text.

    Of several sentences, whole ones are left out. Other quotations lose their middle, the longest ones first. Every exact string
    of the brief text stays.
    """
    if len(claim.text) <= limit:
        return claim.text
    if limit < len(claim.brief) + _LEAST:
        return ""
    if "«" not in claim.text:
        text = _without_end(claim.text, limit)
    else:
        text = _fewer(claim, limit) if _SAYS.fullmatch(claim.text) else _squeezed(claim.text, limit)
    if len(text) < len(claim.brief) + _LEAST:
        return ""
    shown = map(safe_text.shown, claim.quotes)
    return text if all(quote in text for quote in shown if quote in claim.brief) else ""


def _without_end(text: str, limit: int) -> str:
    """`text` up to the last of its parts that fits."""
    cut = max(text.rfind(", ", 0, limit - 1), text.rfind("; ", 0, limit - 1))
    return f"{text[:cut]} …" if cut > 0 else ""


def _fewer(claim: Claim, limit: int) -> str:
    """The sentence of the brief text, the last one, which often says what follows, and of the others as many as fit, those with
    figures first.
    """
    who, _, words = claim.text.partition(_SPEECH)
    sentences = _QUOTATION.findall(words)
    best = (_QUOTATION.findall(claim.brief) or [""])[0].rstrip("…")
    kept = [n for n, sentence in enumerate(sentences) if sentence.startswith(best)][:1]
    room = limit - len(who) - len(_SPEECH) - sum(len(sentences[n]) + 3 for n in kept)
    if kept and room < 0:
        return f"{who}{_SPEECH}«{safe_text.clip(sentences[kept[0]], len(sentences[kept[0]]) + room - 1)}…»"
    last = len(sentences) - 1
    figures = [n for n in range(last) if any(map(str.isdigit, sentences[n]))]
    for n in dict.fromkeys((last, *figures, *range(last))):
        if n not in kept and len(sentences[n]) + 3 <= room:
            kept.append(n)
            room -= len(sentences[n]) + 3
    return f"{who}{_SPEECH}{' '.join(f'«{sentences[n]}»' for n in sorted(kept))}" if kept else ""


def _squeezed(text: str, limit: int) -> str:
    """`text` with shorter quotations."""
    lengths = sorted(len(quotation) for quotation in _QUOTATION.findall(text))
    room = limit - len(text) + sum(lengths)
    most = 0
    for place, length in enumerate(lengths):
        most = room // (len(lengths) - place)
        if length > most:
            break
        room -= length
    return _QUOTATION.sub(lambda found: _cut(text, found, most), text) if most >= _LEAST else ""


def _cut(text: str, found: re.Match[str], limit: int) -> str:
    quotation = found[1]
    if len(quotation) <= limit:
        return found[0]
    if text[: found.start()].endswith(_SPEECH) or quotation.endswith("…"):
        return f"«{safe_text.clip(quotation, limit - 1)}…»"
    start = safe_text.clip(quotation, (limit - 3) * _START // 100)
    end = quotation[len(start) - limit + 3 :]
    return f"«{start} … {end[end.find(' ') + 1 :] if ' ' in end[: len(end) // 2] else end}»"

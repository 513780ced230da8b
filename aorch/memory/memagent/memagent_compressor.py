"""The memagent compressor: sends the claims of a local block to MemAgent as notes, and lets MemAgent compress the session."""

import hashlib
import json
from collections.abc import Collection, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from aorch.errors import ServiceFailed, ServiceUnreachable
from aorch.memory import safe_text
from aorch.memory.block import Claim, MemoryBlock
from aorch.memory.budget import TITLES, cites_of
from aorch.memory.memagent.memagent_client import MOST_NOTE_CHARS, MemAgentClient, memagent_id
from aorch.memory.prompt import KEPT_TITLES

_LISTS = ("key_decisions", "active_modifiers", "user_preferences")
_MOST_ITEMS, _LONGEST_ITEM, _LONGEST_SUMMARY = 50, 400, 4000


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """MemAgent's answer to a compression.

    aorch sends notes and no events. If `events_processed` is above 0, the summary is about other events (MemAgent has a built-in
    sample of 11). The answer never replaces the block. All texts are on one line, without control characters. `summary` may be
    anything that a model wrote, and `message` is MemAgent's message instead of a summary.
    """

    memory_block_id: str = ""
    events_processed: int = 0
    message: str = ""
    summary: str = ""
    design_intent: str = ""
    key_decisions: tuple[str, ...] = ()
    active_modifiers: tuple[str, ...] = ()
    user_preferences: tuple[str, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    compressed_at: str = ""


class Companion(msgspec.Struct, frozen=True, kw_only=True):
    """The data that is stored with a block that was sent to MemAgent.

    `memagent_session_id` is the session ID in MemAgent. `notes` are the hashes of the notes that MemAgent has now; the next
    compression passes them as `sent`. `refused` counts the notes that MemAgent rejected. If `answer` is None, `error` is
    the reason.
    """

    memagent_session_id: str
    memory_block_id: str = ""
    notes: tuple[str, ...] = ()
    sent: int = 0
    refused: int = 0
    answer: Answer | None = None
    error: str = ""


async def send_to_memagent(block: MemoryBlock, memagent: MemAgentClient, sent: Collection[str] = ()) -> Companion:
    """Create the session in MemAgent, send the notes of `block`, and let MemAgent compress.

    Notes are skipped if their hashes are in `sent`, or if MemAgent has them already (an earlier process may have been killed
    before it stored the hashes). If MemAgent did not know the session, all notes are sent.

    Raises nothing if MemAgent fails: `error` has the reason.
    """
    session = memagent_id(block.session_id)
    companion = Companion(memagent_session_id=session)
    try:
        new_block_id = await memagent.init(session, _intent(block))
        companion = replace(companion, memory_block_id=new_block_id)
        companion = await _send_notes(companion, block, memagent, () if new_block_id else sent)
        if companion.error:
            return companion
        answer = answer_of(await memagent.compress(session))
    except ServiceUnreachable as error:
        return replace(companion, error=str(error))
    return replace(companion, answer=answer, memory_block_id=answer.memory_block_id or companion.memory_block_id)


async def _send_notes(
    companion: Companion, block: MemoryBlock, memagent: MemAgentClient, sent: Collection[str]
) -> Companion:
    """Send the notes. If one fails, the result contains the notes that were sent before."""
    there = "\n".join(await memagent.notes(companion.memagent_session_id))
    for text in notes(block):
        mark = note_hash(text)
        if mark in sent or text in there or json.dumps(text, ensure_ascii=False)[1:-1] in there:
            companion = replace(companion, notes=(*companion.notes, mark))
            continue
        try:
            taken = await memagent.note(companion.memagent_session_id, text)
        except ServiceUnreachable as error:
            return replace(companion, error=str(error))
        if taken:
            companion = replace(companion, notes=(*companion.notes, mark), sent=companion.sent + 1)
        else:
            companion = replace(companion, refused=companion.refused + 1)
    return companion


def notes(block: MemoryBlock) -> list[str]:
    """`block` as notes of at most MOST_NOTE_CHARS, the most important first, each once.

    Each claim is a note with its citations. Exact strings share notes.
    """
    ordered = sorted(block.claims(), key=lambda item: -item[1].importance)
    sentences = [
        _fitting(f"{(TITLES | KEPT_TITLES)[section]} ", claim.text, _cited(claim))
        for section, claim in ordered
        if section != "literals"
    ]
    names = [claim for section, claim in ordered if section == "literals"]
    return list(dict.fromkeys([*sentences, *_listed(names)]))


def note_hash(text: str) -> str:
    """The hash by which a sent note is remembered: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def answer_of(body: dict[str, Any]) -> Answer:
    """The answer in a response to `compress`; missing or invalid fields are empty.

    Raises ServiceFailed if all fields are empty.
    """
    made = body.get("compression")
    compression: dict[str, Any] = made if isinstance(made, dict) else {"summary": made or ""}
    answer = Answer(
        memory_block_id=_line(body.get("memory_block_id"), 100),
        events_processed=_number(compression.get("events_processed", body.get("events_processed"))),
        message=_line(body.get("message"), _LONGEST_ITEM),
        summary=_line(compression.get("summary"), _LONGEST_SUMMARY),
        design_intent=_line(compression.get("design_intent"), _LONGEST_ITEM),
        tokens_in=_number(compression.get("tokens_in")),
        tokens_out=_number(compression.get("tokens_out")),
        compressed_at=_line(compression.get("compressed_at"), 40),
        **{name: tuple(_items(compression.get(name))) for name in _LISTS},
    )
    if not (answer.summary or answer.message or answer.memory_block_id):
        raise ServiceFailed("MemAgent answered compress with neither a summary nor a reason")
    return answer


def _intent(block: MemoryBlock) -> str:
    return safe_text.clip(safe_text.first_line(block.intent), MOST_NOTE_CHARS)


def _cited(claim: Claim) -> str:
    return f" [{', '.join(safe_text.first_line(identity)[:60] for identity in cites_of(claim))}]"


def _fitting(title: str, text: str, cites: str) -> str:
    room = MOST_NOTE_CHARS - len(title) - len(cites)
    return f"{title}{text if len(text) <= room else f'{safe_text.clip(text, room - 1)}…'}{cites}"


def _listed(names: list[Claim]) -> Iterator[str]:
    """Exact strings, each with its contract, in as few notes as possible."""
    title = f"{TITLES['literals']} "
    note = title
    for claim in names:
        part = _fitting("", claim.text, _cited(claim)) if len(claim.text) > 400 else f"{claim.text}{_cited(claim)}"
        part = part[: MOST_NOTE_CHARS - len(title)]
        if note != title and len(note) + 2 + len(part) > MOST_NOTE_CHARS:
            yield note
            note = title
        note += part if note == title else f"; {part}"
    if note != title:
        yield note


def _line(value: Any, limit: int) -> str:
    if not isinstance(value, str):
        return "" if value is None else safe_text.clip(json.dumps(value, ensure_ascii=False), limit)
    return safe_text.clip(" ".join(safe_text.lines(value)), limit)


def _items(value: Any) -> Iterator[str]:
    listed = value if isinstance(value, list) else [] if value is None else [value]
    for item in listed[:_MOST_ITEMS]:
        if text := _line(item, _LONGEST_ITEM):
            yield text


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0

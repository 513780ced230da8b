"""Writes corrections of memory: pin or forget a claim, add a note, undo. Each is a contract (ledger/stored_corrections.py)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.config.settings import Config
from aorch.engine.redaction import Redactor
from aorch.errors import Conflict, LedgerError, NotFound, ParametersInvalid
from aorch.ledger.memory_blocks import Memory
from aorch.ledger.stored_corrections import FORGET, NOTE, PIN, UNDO, add_correction, correction_request
from aorch.memory import safe_text
from aorch.memory.block import CLAIM_PREFIX, Claim, claim_id
from aorch.memory.corrections import LONGEST_NOTE, ClaimPayload, Correction, applying, note_claim
from aorch.memory.memory_queries import decode_block

MOST_KEPT = 50
"""Pins and notes that apply to a session at once."""


class By(NamedTuple):
    """Who corrects: the agent of the caller's token, and what the metadata of contracts says about the caller."""

    agent_id: str | None = None
    stamp: dict[str, str] | None = None


OWNER = By()
"""The owner of the ledger, at the command line or in a program."""


def pin_claim(config: Config, reference: str, by: By = OWNER) -> Correction:
    """Keep that claim (its ID) in every later prompt and block of its session; durable when this returns.

    Has no effect if it is pinned. Raises NotFound, ParametersInvalid for a note, Conflict if MOST_KEPT are kept, ContentErased
    and LedgerError.
    """
    return _correct(config, PIN, reference, by)


def forget_claim(config: Config, reference: str, by: By = OWNER) -> Correction:
    """Leave that claim, and later ones that state the same, out of the memory of its session; durable when this returns.

    Has no effect if it is forgotten. Raises NotFound, ContentErased and LedgerError.
    """
    return _correct(config, FORGET, reference, by)


def add_note(config: Config, session_id: str, text: str, by: By = OWNER) -> Correction:
    """Add a statement of a person to the memory of a session; durable when this returns. The patterns of [redact] apply to it.

    Raises NotFound if the session has no contracts, ParametersInvalid for an empty or long text, Conflict if MOST_KEPT are kept,
    and LedgerError.
    """
    session_id = jsonio.storable_text(session_id)
    text = Redactor(config.redact).text(" ".join(safe_text.lines(" ".join(text.split()))))
    if not text:
        raise ParametersInvalid("the note is empty", "Give the text of the note.")
    if len(text) > LONGEST_NOTE:
        raise ParametersInvalid(
            f"the note has {len(text)} characters", f"Use up to {LONGEST_NOTE}, or write several notes."
        )
    with Memory(config.ledger) as memory:
        if not memory.knows(session_id):
            raise NotFound(f"session {session_id!r} not found", "`aorch sessions list` shows the sessions.")
        _check_room(applying(memory.corrections(session_id)))
    request = correction_request(session_id, NOTE, {"text": text}, *by)
    claim = note_claim(request.contract_id, text)
    add_correction(config.ledger, request, {"claim_id": claim_id(claim)})
    return Correction(request.contract_id, session_id, "note", request.created_at, request.from_agent, "notes", claim)


def undo_correction(config: Config, reference: str, by: By = OWNER) -> Correction:
    """Undo the correction with that ID, or the one that applies to the claim with that ID; durable when this returns.

    Raises NotFound if none applies, and LedgerError.
    """
    found = next((one for one in active_corrections(config.ledger) if reference in _names(one)), None)
    if found is None:
        raise NotFound(
            f"correction {reference!r} not found",
            "`aorch memory corrections` lists those that apply.",
            http_hint="GET /v1/memory/corrections lists those that apply.",
        )
    request = correction_request(found.session_id, UNDO, {"undoes": found.contract_id}, *by)
    add_correction(config.ledger, request, {"undoes": found.contract_id})
    return found


def active_corrections(
    ledger: LedgerLocation, session_id: str | None = None, after: str | None = None
) -> Iterator[Correction]:
    """The corrections that apply, of one session or of all: by session, then by contract ID. `after`: those after the
    correction with that contract ID.
    """
    with Memory(ledger) as memory:
        sessions = memory.corrected_sessions() if session_id is None else [session_id]
        last = None if after is None else memory.contract(after)
        place = ("", "") if last is None else (last["session_id"], last["contract_id"])
        for name in sessions:
            if name >= place[0]:
                found = sorted(applying(memory.corrections(name)), key=lambda one: one.contract_id)
                yield from (one for one in found if (name, one.contract_id) > place)


def _names(correction: Correction) -> tuple[str, ...]:
    return correction.contract_id, claim_id(correction.claim), claim_id(correction.claim).removeprefix(CLAIM_PREFIX)


def _correct(config: Config, action: str, reference: str, by: By) -> Correction:
    session_id, section, claim = _find(config.ledger, reference)
    name = "pin" if action == PIN else "forget"
    with Memory(config.ledger) as memory:
        applied = applying(memory.corrections(session_id))
    for one in applied:
        if one.action == name and claim_id(one.claim) == claim_id(claim):
            return one
    if action == PIN:
        if section == "notes":
            raise ParametersInvalid("a note cannot be pinned", "Notes are kept like pinned claims.")
        _check_room(applied)
    payload = msgspec.convert({"section": section, **msgspec.to_builtins(claim)}, ClaimPayload)
    form: dict[str, Any] = {"claim_id": claim_id(claim), **msgspec.to_builtins(payload)}
    request = correction_request(session_id, action, form, *by)
    add_correction(config.ledger, request, {"claim_id": claim_id(claim)})
    return Correction(request.contract_id, session_id, name, request.created_at, request.from_agent, section, claim)


def _check_room(applied: list[Correction]) -> None:
    if sum(one.action in ("pin", "note") for one in applied) >= MOST_KEPT:
        raise Conflict(
            f"the session has {MOST_KEPT} pins and notes already",
            "Undo one of them with `aorch memory undo ID`.",
            http_hint="Undo one of them with DELETE /v1/memory/corrections/{contract_id}.",
        )


def _find(ledger: LedgerLocation, reference: str) -> tuple[str, str, Claim]:
    """The session, the section and the claim with that ID; it may be forgotten or pinned."""
    wanted = reference if reference.startswith(CLAIM_PREFIX) else f"{CLAIM_PREFIX}{reference}"
    for session_id, section, claim in _all_claims(ledger):
        if claim_id(claim) == wanted:
            return session_id, section, claim
    raise NotFound(
        f"claim {reference!r} not found",
        "`aorch memory show SESSION` shows the claims with their IDs.",
        http_hint="GET /v1/memory/search finds claims with their IDs.",
    )


def _all_claims(ledger: LedgerLocation) -> Iterator[tuple[str, str, Claim]]:
    """The claims of all blocks, the newest blocks first, and then the notes and pins that apply."""
    before: str | None = None
    with Memory(ledger) as memory:
        while rows := memory.newest(before=before):
            before = rows[-1].block_id
            for row in rows:
                try:
                    block = decode_block(row)
                except LedgerError:  # another program wrote it, or all of it was erased
                    continue
                # the lists of compressors first: they name the section of a pinned claim
                for section, claim in sorted(block.claims(), key=lambda item: item[0] == "pinned"):
                    yield row.session_id, section, claim
    for one in active_corrections(ledger):
        yield one.session_id, one.section, one.claim

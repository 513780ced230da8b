"""Statements for erasing the content of contracts, and for the record of erasures."""

from sqlalchemy import Text, bindparam, cast, delete, func, literal, null, or_, select, union_all, update
from sqlalchemy.dialects import postgresql

from aorch.ledger.queries.delivery_queries import NODE
from aorch.ledger.queries.expressions import RECORD, contracts, listed
from aorch.ledger.record import REQUEST
from aorch.ledger.schema import (
    Attempt,
    BatchLine,
    IdempotencyKey,
    ParkedDelivery,
    StoredBlock,
    TaskProgress,
    Webhook,
    session_positions,
)
from aorch.ledger.upkeep_tables import ErasedContract, Erasure

c = contracts.c
erasures = Erasure.__table__  # type: ignore[attr-defined]  # SQLModel adds it
erased = ErasedContract.__table__  # type: ignore[attr-defined]  # likewise
attempts = Attempt.__table__  # type: ignore[attr-defined]  # likewise
lines = BatchLine.__table__  # type: ignore[attr-defined]  # likewise
keys = IdempotencyKey.__table__  # type: ignore[attr-defined]  # likewise
parked = ParkedDelivery.__table__  # type: ignore[attr-defined]  # likewise
blocks = StoredBlock.__table__  # type: ignore[attr-defined]  # likewise
progress = TaskProgress.__table__  # type: ignore[attr-defined]  # likewise
webhooks = Webhook.__table__  # type: ignore[attr-defined]  # likewise
_ids = listed("contract_ids")

ERASED = "erased"
"""The value of a column that identified erased content and that cannot be NULL."""


# The record of erasures

INSERT_ERASURE = (
    postgresql.insert(erasures)
    .values({each.name: bindparam(each.name) for each in erasures.c})
    .on_conflict_do_nothing(index_elements=["erasure_id"])
)

_insert_erased = postgresql.insert(erased).values({each.name: bindparam(each.name) for each in erased.c})
INSERT_ERASED_CONTRACT = _insert_erased.on_conflict_do_update(
    index_elements=["contract_id"], set_={"erasure_id": _insert_erased.excluded.erasure_id}
)
"""If a restore brought the content back, the contract is erased again: it belongs to the later erasure."""

ERASURES = (
    select(*erasures.c, func.count(erased.c.contract_id).label("contracts"))
    .select_from(erasures.outerjoin(erased, erased.c.erasure_id == erasures.c.erasure_id))
    .group_by(*erasures.c)
    .order_by(erasures.c.erased_at.desc(), erasures.c.erasure_id.desc())
    .limit(bindparam("limit"))
)
"""The newest erasures, each with the number of its contracts."""

UNFINISHED_ERASURES = select(erasures.c.erasure_id).where(erasures.c.cleaned_at.is_(None))

FINISH_ERASURES = update(erasures).where(erasures.c.cleaned_at.is_(None)).values(cleaned_at=bindparam("finished_at"))

ERASED_CONTRACTS = select(*erased.c)

ALL_ERASED = select(erased.c.contract_id).order_by(erased.c.contract_id)

IS_ERASED = select(erased.c.erasure_id).where(erased.c.contract_id == bindparam("contract_id"))


# What to erase

EXCHANGES_OF = (
    select(c.position, *RECORD)
    .where(c.contract_id.in_(_ids))
    .union_all(select(c.position, *RECORD).where(c.request_id.in_(listed("request_ids"))))
)
"""The contracts with these ids, and the RESPONSEs to them (both parameters are JSON lists)."""

RERUNS_IN = (
    select(c.contract_id, cast(c.metadata, Text).label("metadata"))
    .select_from(session_positions.join(contracts, c.position == session_positions.c.position))
    .where(session_positions.c.session_id.in_(listed("session_ids")), c.contract_type == REQUEST)
    .where(or_(*(cast(c.metadata, Text).contains(f'"{name}"') for name in ("rerun_of", "retry_of", "resumes"))))
)
"""The REQUESTs of these sessions that may be reruns or later tries."""

TEXTS_ABOUT_CONTRACTS = union_all(
    select(attempts.c.request_id, attempts.c.error.label("text")).where(attempts.c.error.is_not(None)),
    select(webhooks.c.request_id, webhooks.c.url),
    select(webhooks.c.request_id, webhooks.c.error).where(webhooks.c.error.is_not(None)),
    select(progress.c.request_id, cast(progress.c.progress, Text)),
    select(lines.c.request_id, lines.c.line_key),
    select(parked.c.contract_id, parked.c.reason).where(parked.c.contract_id.is_not(None)),
)
"""Whatever an erasure removes outside of contracts and memory blocks, by contract."""

ALL_BLOCKS = select(*blocks.c)


# Erasing

ERASE_CONTRACT = (
    update(contracts)
    .where(c.contract_id == bindparam("erased_id"))
    .ordered_values(
        (c.payload, literal("{}", Text)),
        (c.result, null()),
        (c.error, null()),
        (c.required_labels, null()),
        (c.metadata, bindparam("mark", type_=c.metadata.type)),
    )
)

ERASE_ATTEMPTS = (
    update(attempts).where(attempts.c.request_id.in_(_ids), attempts.c.error.is_not(None)).values(error=null())
)

ERASE_PROGRESS = delete(progress).where(progress.c.request_id.in_(_ids))

ERASE_WEBHOOKS = delete(webhooks).where(webhooks.c.request_id.in_(_ids))

ERASE_KEYS = update(keys).where(keys.c.request_id.in_(_ids)).values(fingerprint=ERASED)

ERASE_PARKED = update(parked).where(parked.c.contract_id.in_(_ids)).values(reason=ERASED)

PARKED_EVENTS_OF = select(parked.c.contract_id, parked.c.state).where(
    parked.c.contract_id.in_(_ids), parked.c.kind != NODE
)

LINES_OF = select(lines.c.generation, lines.c.line_key).where(lines.c.request_id.in_(_ids))

RENAME_LINE = (
    update(lines)
    .where(lines.c.generation == bindparam("its_generation"), lines.c.line_key == bindparam("its_key"))
    .values(line_key=bindparam("new_key"))
)

BLOCKS_AFTER = (
    select(*blocks.c)
    .where(blocks.c.session_id == bindparam("session_id"), blocks.c.last_position >= bindparam("position"))
    .order_by(blocks.c.last_position)
)
"""The blocks of a session that end at a position or after it."""

REPLACE_BLOCK = (
    update(blocks)
    .where(blocks.c.block_id == bindparam("its_id"))
    .ordered_values(
        (blocks.c.block, bindparam("new_block", type_=blocks.c.block.type)),
        (blocks.c.beside, bindparam("new_beside", type_=blocks.c.beside.type)),
    )
)

"""Statements that find and delete whole exchanges with everything that belongs to them (pruning.py)."""

from sqlalchemy import Text, bindparam, cast, delete, func, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ColumnElement

from aorch.ledger.queries.delivery_queries import DUE
from aorch.ledger.queries.expressions import byte_length, contracts, listed, listed_numbers
from aorch.ledger.schema import (
    Attempt,
    Batch,
    BatchLine,
    IdempotencyKey,
    ParkedDelivery,
    Retry,
    StoredBlock,
    TaskProgress,
    Webhook,
)
from aorch.ledger.upkeep_tables import ContractAge, PrunedContract

c = contracts.c
attempts = Attempt.__table__  # type: ignore[attr-defined]  # SQLModel adds it
progress = TaskProgress.__table__  # type: ignore[attr-defined]  # likewise
webhooks = Webhook.__table__  # type: ignore[attr-defined]  # likewise
keys = IdempotencyKey.__table__  # type: ignore[attr-defined]  # likewise
batches = Batch.__table__  # type: ignore[attr-defined]  # likewise
lines = BatchLine.__table__  # type: ignore[attr-defined]  # likewise
retries = Retry.__table__  # type: ignore[attr-defined]  # likewise
parked = ParkedDelivery.__table__  # type: ignore[attr-defined]  # likewise
blocks = StoredBlock.__table__  # type: ignore[attr-defined]  # likewise
pruned = PrunedContract.__table__  # type: ignore[attr-defined]  # likewise
ages = ContractAge.__table__  # type: ignore[attr-defined]  # likewise
_ids, _positions = listed("contract_ids"), listed_numbers("positions")


# Finding

_part = select(
    *(c.position, c.contract_id, c.session_id, c.contract_type, c.status, c.created_at, c.completed_at),
    *(c.request_id, c.parent_id, cast(c.metadata, Text).label("metadata")),
)
PARTS_AFTER = _part.where(c.position > bindparam("after")).order_by(c.position).limit(bindparam("limit"))
"""The contracts after a position, without their content."""

CONTRACT_AGES = select(ages.c.last_position, ages.c.oldest_at).order_by(ages.c.last_position)

NEXT_POSITION = select(func.min(c.position).label("position")).where(c.position > bindparam("after"))

OLDEST_BETWEEN = select(func.min(c.created_at).label("oldest_at")).where(
    c.position > bindparam("after"), c.position <= bindparam("last")
)

PARTS = _part.where(c.contract_id.in_(_ids))

PARTS_ANSWERING = _part.where(c.request_id.in_(_ids))

PARTS_BELOW = _part.where(c.parent_id.in_(_ids))

POSITIONS_OF = select(c.contract_id, c.position).where(c.contract_id.in_(_ids))

NEXT_TRIES = select(retries.c.contract_id, retries.c.request_id).where(retries.c.contract_id.in_(_ids))

PENDING_WEBHOOKS_OF = select(webhooks.c.request_id).where(
    webhooks.c.request_id.in_(_ids), webhooks.c.due_at.is_not(None)
)

KEYED_REQUESTS = select(keys.c.request_id).where(keys.c.request_id.in_(_ids))

GENERATIONS_OF = select(lines.c.request_id, lines.c.generation).where(lines.c.request_id.in_(_ids))

RESUMABLE_GENERATIONS = select(batches.c.generation, batches.c.name)

REQUESTS_OF_GENERATION = (
    select(lines.c.line_key, lines.c.request_id)
    .where(lines.c.generation == bindparam("generation"), lines.c.line_key > bindparam("after"))
    .order_by(lines.c.line_key)
    .limit(bindparam("limit"))
)

DUE_AGAIN_AT = select(parked.c.position).where(parked.c.position.in_(_positions), parked.c.state == DUE)

COVERED_POSITIONS = (
    select(blocks.c.session_id, func.max(blocks.c.last_position).label("position"))
    .where(blocks.c.session_id.in_(listed("session_ids")))
    .group_by(blocks.c.session_id)
)


def _content() -> ColumnElement[int]:
    size = byte_length(cast(c.payload, Text)) + byte_length(cast(c.metadata, Text))
    return func.coalesce(
        func.sum(size + func.coalesce(byte_length(cast(c.result, Text)), 0) + func.coalesce(byte_length(c.error), 0)), 0
    ).label("bytes")


CONTENT_BYTES = select(_content()).where(c.position.in_(_positions))
"""The bytes of payload, result, error and metadata."""

ALL_CONTENT_BYTES = select(_content())
"""Likewise, of all contracts. Reads the whole table."""

PRUNED_OF_SESSION = (
    select(pruned.c.contract_id, pruned.c.position)
    .where(pruned.c.session_id == bindparam("session_id"))
    .order_by(pruned.c.position)
)


# Where old contracts are (contract_ages.py)

_put_age = postgresql.insert(ages).values(
    last_position=bindparam("last_position"), oldest_at=bindparam("oldest_at", type_=ages.c.oldest_at.type)
)
PUT_CONTRACT_AGE = _put_age.on_conflict_do_update(
    index_elements=["last_position"], set_={"oldest_at": _put_age.excluded.oldest_at}
)
DELETE_CONTRACT_AGE = delete(ages).where(ages.c.last_position == bindparam("its_position"))


# Deleting

INSERT_PRUNED = insert(pruned).values({each.name: bindparam(each.name) for each in pruned.c})
UNREGISTER_BATCH = delete(batches).where(
    batches.c.name == bindparam("its_name"), batches.c.generation == bindparam("its_generation")
)
"""From then on, the batch cannot be resumed."""
DELETE_ATTEMPTS_OF = delete(attempts).where(attempts.c.request_id.in_(_ids))
DELETE_PROGRESS_OF = delete(progress).where(progress.c.request_id.in_(_ids))
DELETE_WEBHOOKS_OF = delete(webhooks).where(webhooks.c.request_id.in_(_ids))
DELETE_KEYS_OF = delete(keys).where(keys.c.request_id.in_(_ids))
DELETE_LINES_OF = delete(lines).where(lines.c.request_id.in_(_ids))
DELETE_RETRIES_OF = delete(retries).where(retries.c.contract_id.in_(_ids))
DELETE_PARKED_AT = delete(parked).where(parked.c.position.in_(_positions))
DELETE_CONTRACTS_AT = delete(contracts).where(c.position.in_(_positions))

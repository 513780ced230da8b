"""Statements for the leases of workers that claim tasks over HTTP."""

from sqlalchemy import bindparam, delete, insert, null, select, update
from sqlalchemy.dialects import postgresql

from aorch.ledger.queries.expressions import RECORD, contracts, current_moment, listed
from aorch.ledger.work_tables import WorkLease, WorkOffer

leases = WorkLease.__table__  # type: ignore[attr-defined]  # SQLModel adds it
offers = WorkOffer.__table__  # type: ignore[attr-defined]  # likewise
c = contracts.c
_its_id = leases.c.lease_id == bindparam("its_lease_id")

LEDGER_TIME = select(current_moment().label("moment"))
"""The time by which leases are judged."""

INSERT_WORK_LEASE = insert(leases).values({each.name: bindparam(each.name) for each in leases.c})
WORK_LEASE = select(*leases.c).where(_its_id)
WORK_LEASES = select(*leases.c).order_by(leases.c.lease_id)
RENEW_WORK_LEASE = update(leases).where(_its_id).values(ends_at=bindparam("new_end"))
DELIVER_WORK = (
    update(leases)
    .where(_its_id)
    .ordered_values(
        (leases.c.delivery_id, bindparam("new_delivery_id")), (leases.c.unconfirmed, bindparam("request_ids"))
    )
)
"""Records that these REQUESTs are on their way to the worker."""
UNCONFIRMED_WORK = select(leases.c.lease_id, leases.c.delivery_id).where(leases.c.unconfirmed.is_not(None))
CONFIRM_WORK = (
    update(leases)
    .where(_its_id)
    .ordered_values((leases.c.unconfirmed, null()), (leases.c.ends_at, bindparam("new_end")))
)
"""Records that the worker has received them, and renews the lease."""
DELETE_WORK_LEASE = delete(leases).where(_its_id)
ENDED_WORK_LEASES = select(leases.c.lease_id, leases.c.lease_s).where(leases.c.ends_at <= bindparam("moment"))

PUT_WORK_OFFER = (
    postgresql.insert(offers)
    .values({each.name: bindparam(each.name) for each in offers.c})
    .on_conflict_do_nothing(index_elements=["offer_id"])
)
WORK_OFFER_IDS = select(leases.c.offer_id).distinct()
"""The offers of all leases."""
WORK_OFFER = select(offers.c.document).where(offers.c.offer_id == bindparam("its_offer_id"))
DELETE_UNUSED_OFFERS = delete(offers).where(offers.c.offer_id.not_in(select(leases.c.offer_id)))

CLAIMED_CONTRACTS = (
    select(*RECORD)
    .where(c.contract_id.in_(listed("request_ids")), c.claimed_by == bindparam("its_lease_id"))
    .order_by(c.position)
)
"""Those of these REQUESTs (a JSON list) that the lease still claims."""

ALL_CANCELLED_CLAIMS = select(c.claimed_by, c.contract_id, c.cancelled_by).where(
    c.cancelled_by.is_not(None), c.claimed_by.is_not(None)
)
"""The cancelled REQUESTs that any process or worker still runs."""

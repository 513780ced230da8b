"""Statements for registered agents and the states of agents."""

from sqlalchemy import bindparam, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql

from aorch.ledger.schema import AgentEntry

agents = AgentEntry.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_its_id = agents.c.agent_id == bindparam("agent_id")

ANY_REGISTERED_AGENT = select(agents.c.agent_id).where(agents.c.document.is_not(None)).limit(1)
AGENTS_WITHOUT_DOCUMENTS = select(*(each for each in agents.c if each.name != "document")).order_by(agents.c.agent_id)
ONE_AGENT = select(*agents.c).where(_its_id)
REGISTERED_COUNT = select(func.count()).select_from(agents).where(agents.c.document.is_not(None))

_put = postgresql.insert(agents).values({each.name: bindparam(each.name) for each in agents.c})
PUT_AGENT = _put.on_conflict_do_update(
    index_elements=["agent_id"],
    set_={each.name: _put.excluded[each.name] for each in agents.c if each.name != "agent_id"},
)
PUT_AGENT_STATE = _put.on_conflict_do_update(
    index_elements=["agent_id"], set_={name: _put.excluded[name] for name in ("state", "reason", "since")}
)
"""Writes the state of a configured agent."""
SET_AGENT_STATE = (
    update(agents)
    .where(_its_id, agents.c.fingerprint == bindparam("its_fingerprint"), agents.c.drained_at.is_(None))
    .values({name: bindparam(name) for name in ("state", "reason", "since")})
)
"""Changes the state of a registered agent, unless it drains or was registered again."""
PUT_AGENT_CIRCUIT = _put.on_conflict_do_update(
    index_elements=["agent_id"], set_={name: _put.excluded[name] for name in ("circuit_until", "circuit_since")}
)
"""Writes the circuit breaker of a configured agent."""
SET_AGENT_CIRCUIT = (
    update(agents)
    .where(_its_id, agents.c.fingerprint == bindparam("its_fingerprint"))
    .values({name: bindparam(name) for name in ("circuit_until", "circuit_since")})
)
SET_AGENT_CHANGES = (
    update(agents)
    .where(_its_id, agents.c.fingerprint == bindparam("its_fingerprint"))
    .values(changes=bindparam("changes"))
)
DRAIN_AGENT = (
    update(agents).where(_its_id).values({name: bindparam(name) for name in ("drained_at", "state", "reason", "since")})
)
RENEW_LEASE = (
    update(agents)
    .where(_its_id, or_(agents.c.lease_ends_at.is_(None), agents.c.lease_ends_at > bindparam("now")))
    .values(lease_ends_at=bindparam("ends_at"))
)
DELETE_AGENT = delete(agents).where(_its_id)
DELETE_ENDED_AGENT = delete(agents).where(_its_id, agents.c.lease_ends_at <= bindparam("moment"))

"""The steps that a worker over HTTP executes for a pipeline that it has claimed: its lease claims their REQUESTs too.

At the end of the lease they end as `interrupted`, as those of a process that has died.
"""

from typing import Any

from aorch import jsonio
from aorch.errors import Conflict, Forbidden, NotFound
from aorch.ledger import work_leases
from aorch.ledger.database import Connection, statements
from aorch.ledger.record import PENDING, REQUEST, Record, text_in
from aorch.ledger.task_keys import RetryKey
from aorch.ledger.tried_steps import TriedStep, tried_steps


def write_step(connection: Connection, lease_id: str, owner: str, request: Record, response: Record | None) -> str:
    """Write the REQUEST of a step, with its RESPONSE if no agent is called, and return its status. A repetition without the
    status `pending` says that an agent is called now; any other repetition changes nothing.

    Raises LeaseLost if the lease does not claim the parent (any more), and Conflict if another contract has the ID. If
    `metadata.resumes` names an earlier step, the database rejects a second REQUEST that resumes it.
    """
    _check_claimed(connection, lease_id, owner, request.parent_id or "")
    found = connection.execute(statements.CONTRACT_BY_ID, (request.contract_id,)).fetchone()
    if found is not None:
        return _repeat(connection, Record(*found), request)
    resumed = text_in(jsonio.decode(request.metadata), "resumes")
    if resumed is not None:
        _step(connection, resumed, request.session_id, request.from_agent)
        for sql, values in RetryKey(resumed).inserts(request.contract_id):
            connection.execute(sql, values)
    connection.execute(statements.INSERT_CONTRACT, request)
    if response is not None:
        connection.execute(statements.INSERT_CONTRACT, response)
    return request.status


def tried(connection: Connection, lease_id: str, owner: str, contract_id: str, from_agent: str) -> list[TriedStep]:
    """The steps of earlier tries of a claimed REQUEST. Raises LeaseLost."""
    _check_claimed(connection, lease_id, owner, contract_id)
    return tried_steps(connection, contract_id, from_agent)


def step_result(
    connection: Connection, lease_id: str, owner: str, contract_id: str, step_id: str
) -> tuple[str, str | None]:
    """The capability of a step of a claimed REQUEST, and its result as JSON text. Raises LeaseLost, and NotFound."""
    parent = _check_claimed(connection, lease_id, owner, contract_id)
    step = _step(connection, step_id, parent.session_id, parent.to_agent)
    found = connection.execute(statements.RESULT_OF_REQUEST, (step_id,)).fetchone()
    return step.capability, found and found[0]


def _check_claimed(connection: Connection, lease_id: str, owner: str, contract_id: str) -> Record:
    row = work_leases.find(connection, lease_id, owner)
    found = connection.execute(statements.CONTRACT_BY_ID, (contract_id,)).fetchone()
    if found is None or (record := Record(*found)).claimed_by != row.lease_id:
        raise work_leases.task_lost(contract_id)
    return record


def _repeat(connection: Connection, written: Record, request: Record) -> str:
    same: list[Any] = [(each.parent_id, each.capability, each.contract_type) for each in (written, request)]
    if same[0] != same[1]:
        raise Conflict(f"another contract has the ID {request.contract_id}", "Delegate the task with a new ULID.")
    if written.status == PENDING != request.status and written.claimed_by == request.claimed_by:
        connection.execute(statements.START_REQUEST, (request.contract_id,))
        return request.status
    return written.status


def _step(connection: Connection, step_id: str, session_id: str, from_agent: str | None) -> Record:
    """A task that the same agent has delegated in the same session: a worker sees and resumes no others."""
    found = connection.execute(statements.CONTRACT_BY_ID, (step_id,)).fetchone()
    if found is None or (step := Record(*found)).contract_type != REQUEST or step.parent_id is None:
        raise NotFound(f"{step_id} is no step", "Name a step from the list of steps.")
    if (step.session_id, step.from_agent) != (session_id, from_agent):
        raise Forbidden(f"{step_id} is not a step of this pipeline", "Name a step from the list of steps.")
    return step

"""Commits the RESPONSE of a task, and makes the answer to its caller."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from aorch.agents.registered import Registered
from aorch.engine.exchange import answer_of, response_of
from aorch.engine.response_saver import ResponseSaver, Unsaved
from aorch.engine.task import Answer, Outcome
from aorch.errors import AorchError, Conflict, LedgerError, LedgerTooNew
from aorch.ledger.record import Record

REQUEUE_PAUSE_S = 1.0
"""Pause between attempts to return a task to the queue while the ledger does not accept writes."""
CANCELLED_PATIENCE_S = 0.3
"""How long a cancelled caller waits for the ledger to accept the RESPONSE."""


async def respond(
    saver: ResponseSaver,
    request: Record,
    registered: Registered,
    outcome: Outcome,
    started: float,
    patience_s: float,
    *,
    last: bool = False,
) -> Answer:
    """Commit the RESPONSE and return the answer."""
    response = response_of(request, registered, outcome, started)
    answer = answer_of(response, response.from_agent, outcome)
    try:
        await saver.save(response, last=last, patience_s=patience_s)
    except Unsaved as unsaved:
        unsaved.answer = answer
        raise
    except Conflict as conflict:
        return answer_of(response, response.from_agent, Outcome(error=str(conflict), failure=Conflict))
    return answer


async def respond_last(
    saver: ResponseSaver, request: Record, registered: Registered, outcome: Outcome, started: float
) -> None:
    """Like `_respond`, but no caller waits for the answer, and the REQUEST may not be written yet."""
    response = respond(saver, request, registered, outcome, started, CANCELLED_PATIENCE_S, last=True)
    with contextlib.suppress(Unsaved):
        await asyncio.shield(response)


async def saved_at_last(
    saver: ResponseSaver, response: Record, report: Callable[[AorchError], None], *, webhook: bool
) -> bool:
    """Commit the RESPONSE to a claimed task, however long that takes. Returns False if it is dropped, because another process
    answers the task, or the ledger is too new for this process. `report` gets the reason for that, and the error if the ledger
    does not accept it within PATIENCE_S.
    """
    try:
        try:
            await saver.save(response, webhook=webhook)
        except Unsaved as unsaved:
            if not unsaved.is_final:
                report(unsaved)
            await asyncio.shield(unsaved.saving)
    except LedgerTooNew as refusal:
        report(LedgerTooNew(f"the result of {response.request_id} is not in the ledger: {refusal}", refusal.hint))
        return False
    except Conflict as refusal:
        report(refusal)
        return False
    return True


async def retried(write: Callable[[], Awaitable[None]]) -> None:
    """Call `write` until the ledger accepts it. Raises LedgerTooNew: this process can never write to that ledger again."""
    while True:
        try:
            return await write()
        except LedgerTooNew:
            raise
        except LedgerError:
            await asyncio.sleep(REQUEUE_PAUSE_S)

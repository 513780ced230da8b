"""Delivers contracts to Trace: in order, each exactly once, with one request at a time.

A process delivers while it holds the lease (lease.py). A round of delivery is: check that Trace gives each answer to its own
request, send the steps that are due, check again, and commit the position to the outbox (once for WINDOW contracts).

A step is the event of a contract or the provenance node of a REQUEST. Steps are numbered in the order of delivery. These
numbers show the state of each step (`n` is the number of a step):

    | step number                      | the step is      | next                                                        |
    |----------------------------------|------------------|-------------------------------------------------------------|
    | n ≤ outbox position              | done             | nothing; it is committed in the ledger                      |
    | position < n ≤ verified          | verified         | its position is committed at the end of the window          |
    | verified < n ≤ acknowledged      | acknowledged     | the next check of Trace verifies it                         |
    | acknowledged < n ≤ sent          | in doubt         | look it up in Trace, then send it, count it, or park it     |
    | sent < n                         | not sent         | send it                                                     |

    committed ≤ verified ≤ acknowledged ≤ sent, and `sent` never passes the outbox's `reach`, which is committed before sending.

    | what happens                     | effect                                                                         |
    |----------------------------------|--------------------------------------------------------------------------------|
    | POST of step n starts            | sent = max(sent, n)                                                            |
    | Trace answers 200, for step n    | acknowledged = n                                                               |
    | Trace rejects step n finally    | check Trace, park the step as `refused`; acknowledged = n                      |
    | no connection, 503, 429, 401 …   | Trace stored nothing: sent = n - 1 if n was the last one sent; try again later |
    | 500, broken connection, silence  | step n stays in doubt; tries + 1                                               |
    | a check succeeds                 | verified = acknowledged                                                        |
    | a check finds mixed-up answers   | once_acknowledged = acknowledged; acknowledged = verified                      |
    | the process is killed            | nothing: the state is in the lease file                                        |
    | the machine restarts             | verified = acknowledged = committed; sent = reach                              |

A step in doubt is looked up: aorch reads the session's events (or nodes) from Trace.

    | Trace returns                                            | result                                                 |
    |----------------------------------------------------------|--------------------------------------------------------|
    | the step                                                 | delivered                                              |
    | other steps of the session, but not this one             | it is sent                                             |
    | nothing, and nothing was delivered to the session before | it is sent                                             |
    | nothing, although something was delivered before         | cannot be looked up                                    |
    | not read: more than 64 KiB may have been sent to it      | cannot be looked up (Trace returns nothing above that) |
    | not read: contracts were deleted from the ledger         | cannot be looked up (the size in Trace is not known)   |

A step that cannot be looked up counts as delivered if Trace once acknowledged it (n ≤ once_acknowledged). Otherwise it is
parked as `unknown`: neither lost nor sent twice, until a person retries it.

A step that fails MOST_TRIES times while Trace accepts others is parked as `refused`, and so are sessions whose ID cannot be part
of a URL. Parked steps do not delay the others. If the last holder of the lease was killed during a request, Trace may still be
working on it: the next holder waits REST_S first.
"""

import asyncio
import time
from contextlib import closing

from aorch.clock import now
from aorch.errors import ServiceFailed, ServiceRefused, ServiceUnreachable
from aorch.ledger.outbox import DUE, REFUSED, UNKNOWN, Outbox, Parked
from aorch.ledger.record import Record
from aorch.trace.delivery_state import DeliveryState
from aorch.trace.lease import Lease
from aorch.trace.payload import NODE, Step, can_be_read_back, event_data, key, node, steps, unfit_for_path
from aorch.trace.trace_client import AnswersMixedUp, TraceClient

WINDOW = 50
"""Number of contracts that may be sent beyond the committed position."""
REST_S = 2.0
"""Pause before the next request to Trace after the process of a request has ended.

Trace takes 0.01 to 0.15 s for a request.
"""
MOST_TRIES = 6

_UNKNOWN = "it was sent but not confirmed, and it cannot be looked up: Trace reads back no session above 64 KiB"
_FAILED = f"it failed {MOST_TRIES} times while Trace accepted other requests"


class Delivery:
    """Delivers under `lease`, starting from `state`.

    `delivered` counts contracts and `parked` counts steps; `reason` is why the last step was parked.
    """

    def __init__(self, outbox: Outbox, lease: Lease, state: DeliveryState) -> None:
        self._outbox, self._lease, self.state = outbox, lease, state
        self._committed, self._reach = outbox.reached()
        self.delivered = self.parked = 0
        self.reason = ""

    async def run(self, trace: TraceClient, until: float) -> bool:
        """Deliver until nothing is due, or until shortly after `until` (`time.monotonic`). Return whether more may be due.

        Raises ServiceUnreachable and its subclasses if Trace fails, and LedgerError.
        """
        await self._check(trace)
        await self._retry_parked(trace)
        while contracts := await asyncio.to_thread(self._next_window):
            out_of_time = False
            for position, row in contracts:
                for step in steps(position, row):
                    if step.number > self.state.verified:
                        await self._deliver(trace, step)
                self._finish_contract(position)
                if out_of_time := time.monotonic() > until:
                    break
            await self._check(trace)
            if out_of_time:
                return True
        return False

    async def rest(self) -> None:
        """Wait until Trace has finished a request whose process was killed."""
        if self.state.request_started_at is not None:
            await asyncio.sleep(min(max(self.state.request_started_at + REST_S - time.time(), 0.0), REST_S))
            self.state.request_started_at = None

    def on_request(self, starts: bool) -> None:
        """Record that a request starts, or has ended. TraceClient calls it.

        The end is stored together with its result, which saves a third of the writes of a ledger on PostgreSQL. A process that is
        killed in between only makes the next one rest.
        """
        self.state.request_started_at = time.time() if starts else None
        if starts:
            self._lease.write(self.state)

    def commit(self) -> None:
        """Commit the position of the verified contracts, if it has changed."""
        position = self._verified_position()
        if position > self._committed:
            self._advance(position, max(position, self._reach))

    async def readable_session(self) -> str | None:
        """A session that has events in Trace and can be read back; None if none of the checked sessions qualifies."""
        return await asyncio.to_thread(self._readable_session)

    def _verified_position(self) -> int:
        return (self.state.verified + 1) // 2 - 1

    def _next_window(self) -> list[tuple[int, Record]]:
        """The next contracts that are due.

        Their last position is committed as `reach` before any of them is sent, so that a later process knows what may have been
        sent.
        """
        position = self._verified_position()
        contracts = self._outbox.contracts(position, WINDOW)
        reach = max(self._reach, contracts[-1][0] if contracts else position)
        if (position, reach) != (self._committed, self._reach):
            self._advance(position, reach)
        return contracts

    def _advance(self, position: int, reach: int) -> None:
        self._outbox.advance(position, reach)
        self._committed, self._reach = position, reach

    def _readable_session(self) -> str | None:
        sessions = dict.fromkeys(self._outbox.sessions(self.state.acknowledged // 2, WINDOW))
        return next((each for each in sessions if not unfit_for_path(each) and self._is_readable(each)), None)

    def _is_readable(self, session_id: str, *, nodes: bool = False) -> bool:
        """Whether everything that may have been sent to the session is known and small enough to read back."""
        if self._outbox.any_deleted():
            return False
        with closing(self._outbox.sent_to(session_id, self.state.sent // 2)) as rows:
            return can_be_read_back(rows, nodes=nodes)

    async def _check(self, trace: TraceClient) -> None:
        """Check that Trace gives each answer to its own request. That verifies the acknowledged steps."""
        try:
            await trace.check(await self.readable_session())
        except AnswersMixedUp:
            await self._put_in_doubt()
            raise
        self.state.verified = self.state.acknowledged

    async def _put_in_doubt(self) -> None:
        """Treat steps that Trace has acknowledged since the last check as in doubt."""
        state = self.state
        state.once_acknowledged = max(state.once_acknowledged, state.acknowledged)
        state.acknowledged = state.verified
        contract_id = await asyncio.to_thread(self._outbox.contract_id, state.acknowledged // 2)
        state.contract_id = contract_id or ""

    async def _deliver(self, trace: TraceClient, step: Step) -> None:
        state = self.state
        if step.kind != NODE and (reason := unfit_for_path(step.row.session_id)):
            await self._park(step, REFUSED, reason)
        elif step.number > state.sent or not await self._is_settled(trace, step):
            await self._send(trace, step)
        state.acknowledged, state.contract_id = step.number, step.row.contract_id
        state.tries = state.failures = 0
        state.sent = max(state.sent, state.acknowledged)
        self._lease.write(state)

    def _finish_contract(self, position: int) -> None:
        """Count the contract as acknowledged up to its last step number, even if it has no node."""
        self.state.acknowledged = max(self.state.acknowledged, 2 * position + 1)
        self.state.sent = max(self.state.sent, self.state.acknowledged)

    async def _send(self, trace: TraceClient, step: Step) -> None:
        state = self.state
        state.sent = max(state.sent, step.number)
        try:
            await _post(trace, step)
        except ServiceRefused as refusal:
            await self._check(trace)  # if answers are mixed up, the refusal may belong to another request
            await self._park(step, REFUSED, str(refusal))
        except AnswersMixedUp:
            await self._put_in_doubt()
            raise
        except ServiceFailed:
            state.tries += 1
            raise
        except ServiceUnreachable:
            if state.sent == step.number:
                state.sent = max(state.acknowledged, step.number - 1)
            raise
        else:
            self.delivered += step.kind != NODE

    async def _is_settled(self, trace: TraceClient, step: Step) -> bool:
        """Whether an unconfirmed step must not be sent again, because it has arrived or was parked."""
        try:
            arrived = await self._look_up(trace, step)
        except AnswersMixedUp:
            await self._put_in_doubt()
            raise
        except ServiceFailed:
            self.state.tries += 1
            if self.state.tries < MOST_TRIES:
                raise
            arrived = None
        if arrived is False and self.state.tries >= MOST_TRIES:
            await self._park(step, REFUSED, _FAILED)
        elif arrived is None and step.number > self.state.once_acknowledged:
            await self._park(step, UNKNOWN, _UNKNOWN)
        elif arrived is False:
            return False
        else:
            self.delivered += step.kind != NODE
        return True

    async def _look_up(self, trace: TraceClient, step: Step) -> bool | None:
        """Whether Trace has the step; None if that cannot be looked up."""
        session_id, nodes = step.row.session_id, step.kind == NODE
        if unfit_for_path(session_id) or not await asyncio.to_thread(self._is_readable, session_id, nodes=nodes):
            return None
        try:
            found = await _keys_in_trace(trace, step)
        except ServiceRefused:
            return None
        if found:
            return key(step.row, step.kind) in found
        delivered_before = await asyncio.to_thread(self._outbox.earlier, session_id, step.position, nodes=nodes)
        return None if delivered_before else False

    async def _park(self, step: Step, state: str, reason: str, attempts: int = 1) -> None:
        row = step.row
        parked = Parked(step.position, step.kind, row.contract_id, row.session_id, state, reason, attempts, now())
        await asyncio.to_thread(self._outbox.park, parked)
        self.parked, self.reason = self.parked + 1, reason

    async def _retry_parked(self, trace: TraceClient) -> None:
        """Deliver the parked steps that were set to be retried."""
        for parked in await asyncio.to_thread(self._outbox.parked, DUE):
            found = await asyncio.to_thread(self._outbox.contracts, parked.position - 1, 1)
            if not found or found[0][0] != parked.position:  # its contract was deleted from the ledger
                await asyncio.to_thread(self._outbox.unpark, parked)
                continue
            step = Step(parked.position, parked.kind, found[0][1])
            if step.kind != NODE and (reason := unfit_for_path(parked.session_id)):
                await self._park(step, REFUSED, reason, parked.attempts + 1)
            elif await self._look_up_parked(trace, step, parked) or await self._send_parked(trace, step, parked):
                await asyncio.to_thread(self._outbox.unpark, parked)
                self.delivered += step.kind != NODE

    async def _look_up_parked(self, trace: TraceClient, step: Step, parked: Parked) -> bool | None:
        """Like `_look_up`, but if Trace fails, the step is parked again, so that it does not delay the others."""
        try:
            return await self._look_up(trace, step)
        except ServiceFailed as error:
            await self._park(step, UNKNOWN, str(error), parked.attempts + 1)
            raise

    async def _send_parked(self, trace: TraceClient, step: Step, parked: Parked) -> bool:
        """Send a parked step, and return whether Trace accepted it.

        While it is being sent, it is stored as `unknown`, which is correct if the process is killed.
        """
        attempts = parked.attempts + 1
        in_flight = parked._replace(state=UNKNOWN, reason=_UNKNOWN, attempts=attempts)
        await asyncio.to_thread(self._outbox.park, in_flight)
        try:
            await _post(trace, step)
        except ServiceRefused as refusal:
            await self._check(trace)
            await self._park(step, REFUSED, str(refusal), attempts)
            return False
        except ServiceFailed as error:
            await self._park(step, UNKNOWN, str(error), attempts)
            raise
        except ServiceUnreachable:
            await asyncio.to_thread(self._outbox.park, parked)
            raise
        return True


async def _post(trace: TraceClient, step: Step) -> None:
    if step.kind == NODE:
        await trace.add_node(node(step.row))
    else:
        data = await asyncio.to_thread(event_data, step.row)
        await trace.add_event(step.row.session_id, step.kind, data)


async def _keys_in_trace(trace: TraceClient, step: Step) -> set[str]:
    """The idempotency keys of the events (or nodes) that Trace returns for the session of `step`."""
    if step.kind == NODE:
        return {f"{each.get('node_id')}:{NODE}" for each in await trace.nodes(step.row.session_id)}
    events = await trace.events(step.row.session_id)
    data = [each["data"] if isinstance(each.get("data"), dict) else {} for each in events]
    return {str(each.get("idempotency_key")) for each in data}

"""Delivering contracts to Trace: in order, each once, one request in flight.

A process delivers while it holds the lease (`ledger/lease.py`), so that it is the only one of its deployment that speaks with
Trace. It sees whether Trace gives each answer to its own request (`Trace.check`), sends what is due, sees that again, and
commits the outbox's position: once for WINDOW contracts, not for each.

A delivery counts when its own POST was answered 200, about it. Where that cannot be said, it is in doubt, and is looked for in
Trace before it is sent again:

- it was sent, and the answer was 500, or none came, or the connection broke: that one;
- the process was killed between sending and answer: that one, told by the lease's State, which survives a kill;
- the machine stopped, or the State is lost: those up to the outbox's `reach`;
- Trace was found to mix up answers: all since it was last seen not to.

Looking for it: it is among the session's events (or nodes): delivered. Others are and it is not: sent. Nothing is read back and
nothing was delivered to that session before: sent. A session is not read if what may have been sent to it passes 64 KiB, or
is not known because contracts were deleted from the ledger: Trace reads back nothing of a session beyond 64 KiB, and reading a
larger one breaks it. Then, or if nothing is read back although something was delivered before, the delivery counts if it was
answered 200 (and only the mixing puts it in doubt); else it is parked as `unknown`, for a person to look at and to retry: not
lost, not doubled.

Not in doubt: no connection, and 503, 429, 3xx, 401, 403: nothing was stored, and it is sent again after a rest. What 422 and
its like refuse, sessions that Trace has no path for, and what fails MOST_TRIES times while Trace takes other requests, is
parked as `refused`, so that it does not hold up the rest. A request whose answer nobody awaits any more (a kill) may still be
at work in Trace: the next holder of the lease lets it alone for REST_S.
"""

import asyncio
import time
from contextlib import closing

from aorch.clock import now
from aorch.errors import ServiceFailed, ServiceRefused, ServiceUnreachable
from aorch.ledger.outbox import DUE, REFUSED, UNKNOWN, Outbox, Parked
from aorch.ledger.record import Row
from aorch.trace.lease import Lease, State, boot
from aorch.trace.payload import NODE, Step, can_be_read_back, event_data, key, node, not_carried, steps
from aorch.trace.trace_client import AnswersMixedUp, Trace

WINDOW = 50
"""Contracts that may be sent beyond the committed position."""
REST_S = 2.0
"""How long Trace is let alone after a request whose answer nobody awaits: it takes 0.01 to 0.15 s for one."""
MOST_TRIES = 6

_UNKNOWN = "it was sent and not answered, and Trace cannot tell (it reads back no session beyond 64 KiB)"
_FAILED = f"Trace took other requests, and failed {MOST_TRIES} times at this one"


def placed(outbox: Outbox, lease: Lease) -> State:
    """Where deliveries stand: by the State of the last holder, or where it is none of this ledger's, by the outbox."""
    state = lease.read()
    position, reach = outbox.reached()
    anchored = (outbox.contract_id(state.sure // 2) or "") == state.contract_id
    if not (anchored and state.boot and state.boot == boot()):
        state.contract_id = outbox.contract_id(position) or ""
        state.proven = state.sure = 0
        state.sent = 2 * reach + 1
        state.boot, state.answered, state.tries = boot(), 0, 0
    if state.sure <= (done := 2 * position + 1):
        state.contract_id = outbox.contract_id(position) or ""
        state.sure = done
    state.proven, state.sent = max(state.proven, done), max(state.sent, state.sure)
    return state


class Delivery:
    """Deliveries under `lease`, from `state` on. `delivered` and `parked` count contracts and deliveries; `reason` is why the
    last one was parked.
    """

    def __init__(self, outbox: Outbox, lease: Lease, state: State) -> None:
        self._outbox, self._lease, self.state = outbox, lease, state
        self._committed, self._reach = outbox.reached()
        self.delivered = self.parked = 0
        self.reason = ""

    async def run(self, trace: Trace, until: float) -> bool:
        """Deliver what is due until that moment (of `time.monotonic`) or so; whether there may be more.

        Raises ServiceUnreachable and its like where Trace does not do its part, and LedgerError.
        """
        await self._see(trace)
        await self._again(trace)
        while batch := await asyncio.to_thread(self._next):
            more = False
            for position, row in batch:
                for step in steps(position, row):
                    if step.place > self.state.proven:
                        await self._one(trace, step)
                self._whole(position)
                if more := time.monotonic() > until:
                    break
            await self._see(trace)
            if more:
                return True
        return False

    async def rest(self) -> None:
        """Let Trace alone until a request that a process left behind is surely done with."""
        if self.state.asked_at is not None:
            await asyncio.sleep(min(max(self.state.asked_at + REST_S - time.time(), 0.0), REST_S))
            self.state.asked_at = None

    def in_flight(self, begins: bool) -> None:
        """Hear from Trace's client that a request begins or has ended."""
        self.state.asked_at = time.time() if begins else None
        self._lease.write(self.state)

    def commit(self) -> None:
        """Commit how far it has come, if that is further than before."""
        position = (self.state.proven + 1) // 2 - 1
        if position > self._committed:
            self._outbox.advance(position, max(position, self._reach))
            self._committed, self._reach = position, max(position, self._reach)

    def _next(self) -> list[tuple[int, Row]]:
        """The next contracts that are due. That they may be sent is committed, and how far it has come so far."""
        position = (self.state.proven + 1) // 2 - 1
        batch = self._outbox.contracts(position, position + WINDOW)
        reach = max(self._reach, batch[-1][0] if batch else position)
        if (position, reach) != (self._committed, self._reach):
            self._outbox.advance(position, reach)
            self._committed, self._reach = position, reach
        return batch

    async def known(self) -> str | None:
        """A session that has events in Trace and may be read back; None if there is none among those looked at."""
        return await asyncio.to_thread(self._known)

    def _known(self) -> str | None:
        sessions = dict.fromkeys(self._outbox.sessions(self.state.sure // 2, WINDOW))
        return next((each for each in sessions if not not_carried(each) and self._readable(each)), None)

    def _readable(self, session_id: str, *, nodes: bool = False) -> bool:
        """Whether that session may be read back: all that may have been sent to it is known, and fits."""
        if self._outbox.any_deleted():
            return False
        with closing(self._outbox.sent_to(session_id, self.state.sent // 2)) as rows:
            return can_be_read_back(rows, nodes=nodes)

    async def _see(self, trace: Trace) -> None:
        """See that Trace gives each answer to its own request, which proves what it answered before."""
        try:
            await trace.check(await self.known())
        except AnswersMixedUp:
            await self._doubt()
            raise
        self.state.proven = self.state.sure

    async def _doubt(self) -> None:
        """Put in doubt what was answered since Trace was last seen to give each answer to its own request."""
        state = self.state
        state.answered, state.sure = max(state.answered, state.sure), state.proven
        at = await asyncio.to_thread(self._outbox.contract_id, state.sure // 2)
        state.contract_id = at or ""

    async def _one(self, trace: Trace, step: Step) -> None:
        state = self.state
        if step.kind != NODE and (reason := not_carried(step.row.session_id)):
            await self._park(step, REFUSED, reason)
        elif step.place > state.sent or not await self._settled(trace, step):
            await self._send(trace, step)
        state.sure, state.contract_id, state.tries, state.failures = step.place, step.row.contract_id, 0, 0
        state.sent = max(state.sent, state.sure)
        self._lease.write(state)

    def _whole(self, position: int) -> None:
        """All of that contract is done, also where it has no node."""
        self.state.sure = max(self.state.sure, 2 * position + 1)
        self.state.sent = max(self.state.sent, self.state.sure)

    async def _send(self, trace: Trace, step: Step) -> None:
        state = self.state
        state.sent = max(state.sent, step.place)
        try:
            await _post(trace, step)
        except ServiceRefused as refusal:
            await self._see(trace)  # where answers are mixed up, it may be another's
            await self._park(step, REFUSED, str(refusal))
        except AnswersMixedUp:
            await self._doubt()
            raise
        except ServiceFailed:
            state.tries += 1
            raise
        except ServiceUnreachable:
            if state.sent == step.place:
                state.sent = max(state.sure, step.place - 1)
            raise
        else:
            self.delivered += step.kind != NODE

    async def _settled(self, trace: Trace, step: Step) -> bool:
        """Whether a delivery in doubt needs no sending: it arrived, or is parked."""
        try:
            arrived = await self._arrived(trace, step)
        except AnswersMixedUp:
            await self._doubt()
            raise
        except ServiceFailed:
            self.state.tries += 1
            if self.state.tries < MOST_TRIES:
                raise
            arrived = None
        if arrived is False and self.state.tries >= MOST_TRIES:
            await self._park(step, REFUSED, _FAILED)
        elif arrived is None and step.place > self.state.answered:
            await self._park(step, UNKNOWN, _UNKNOWN)
        elif arrived is False:
            return False
        else:
            self.delivered += step.kind != NODE
        return True

    async def _arrived(self, trace: Trace, step: Step) -> bool | None:
        """Whether Trace has it; None if that cannot be told."""
        session_id, nodes = step.row.session_id, step.kind == NODE
        if not_carried(session_id) or not await asyncio.to_thread(self._readable, session_id, nodes=nodes):
            return None
        try:
            found = await _keys(trace, step)
        except ServiceRefused:
            return None
        if found:
            return key(step.row, step.kind) in found
        before = await asyncio.to_thread(self._outbox.earlier, session_id, step.position, nodes=nodes)
        return None if before else False

    async def _park(self, step: Step, state: str, reason: str, attempts: int = 1) -> None:
        row = step.row
        parked = Parked(step.position, step.kind, row.contract_id, row.session_id, state, reason, attempts, now())
        await asyncio.to_thread(self._outbox.park, parked)
        self.parked, self.reason = self.parked + 1, reason

    async def _again(self, trace: Trace) -> None:
        """Deliver what somebody wants retried. While it is sent it stands as `unknown`: that is what a kill leaves."""
        for parked in await asyncio.to_thread(self._outbox.parked, DUE):
            found = await asyncio.to_thread(self._outbox.contracts, parked.position - 1, parked.position)
            if not found:  # its contract was removed from the ledger
                await asyncio.to_thread(self._outbox.unpark, parked)
                continue
            step = Step(parked.position, parked.kind, found[0][1])
            if step.kind != NODE and (reason := not_carried(parked.session_id)):
                await self._park(step, REFUSED, reason, parked.attempts + 1)
            elif await self._arrived_before(trace, step, parked) or await self._sent_again(trace, step, parked):
                await asyncio.to_thread(self._outbox.unpark, parked)
                self.delivered += step.kind != NODE

    async def _arrived_before(self, trace: Trace, step: Step, parked: Parked) -> bool | None:
        """As `_arrived`. If Trace fails at being read, the delivery is parked again, so that it does not hold up the rest."""
        try:
            return await self._arrived(trace, step)
        except ServiceFailed as error:
            await self._park(step, UNKNOWN, str(error), parked.attempts + 1)
            raise

    async def _sent_again(self, trace: Trace, step: Step, parked: Parked) -> bool:
        attempts = parked.attempts + 1
        await asyncio.to_thread(self._outbox.park, parked._replace(state=UNKNOWN, reason=_UNKNOWN, attempts=attempts))
        try:
            await _post(trace, step)
        except ServiceRefused as refusal:
            await self._see(trace)
            await self._park(step, REFUSED, str(refusal), attempts)
            return False
        except ServiceFailed as error:
            await self._park(step, UNKNOWN, str(error), attempts)
            raise
        except ServiceUnreachable:
            await asyncio.to_thread(self._outbox.park, parked)
            raise
        return True


async def _post(trace: Trace, step: Step) -> None:
    if step.kind == NODE:
        await trace.add_node(node(step.row))
    else:
        data = await asyncio.to_thread(event_data, step.row)
        await trace.add_event(step.row.session_id, step.kind, data)


async def _keys(trace: Trace, step: Step) -> set[str]:
    """The keys of what Trace reads back of the step's session, of its kind."""
    if step.kind == NODE:
        return {f"{each.get('node_id')}:{NODE}" for each in await trace.nodes(step.row.session_id)}
    events = await trace.events(step.row.session_id)
    data = [each["data"] if isinstance(each.get("data"), dict) else {} for each in events]
    return {str(each.get("idempotency_key")) for each in data}

"""Exports the spans of exchanges that have ended, in the order of the ledger, each at least once.

One process per ledger exports at a time: it holds the lock on the file `LEDGER-otel`, which contains an ExportState. After each
request that the receiver accepted, the position is committed to the outbox. If a process is killed in between, its last spans
are sent again, with the same ids. A request that the receiver rejects for good is divided, until only the exchange that it
rejects is left out.
"""

import asyncio
import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from aorch.backoff import Backoff
from aorch.clock import now
from aorch.config import settings
from aorch.config.settings import Config
from aorch.engine.supervision import Turned
from aorch.errors import ConfigInvalid, Conflict, ServiceRefused, ServiceUnreachable, UsageError
from aorch.ledger.changes import Changes
from aorch.ledger.database import Database, LockedState
from aorch.ledger.ended_exchanges import EndedExchange, EndedExchanges
from aorch.ledger.outbox import OTEL, Outbox
from aorch.process.threads import in_thread
from aorch.telemetry.exchange_spans import Span, SpanBuilder

BATCH = 200
"""Number of exchanges to send in one request."""
UNSENT = 500
"""The position is committed even if there was nothing to send, once it is so many contracts behind."""
ROUND_S = 3.0
"""How long a round lasts while more is due."""
POLL_S = 1.0
"""How soon a service notices exchanges that have ended. Those of a second are sent together."""
BACKOFF = Backoff(1.0, 60.0, jitter=(0.5, 1.0))
INSTALL = "Install it: aorch plugins install 'opentelemetry-proto>=1.30' (or: pip install 'aorch[otel]')."
_NAME = "otel"


class ExportState(msgspec.Struct):
    """How the last rounds went. Times are RFC 3339, `retry_at` is in seconds since 1970; `failures` in a row."""

    failures: int = 0
    retry_at: float = 0.0
    error: str = ""
    error_at: str = ""
    rejected: int = 0
    rejection: str = ""
    pid: int = 0


@dataclass(slots=True)
class ExportResult:
    """The result of a round or a push: exchanges that were exported, spans that the receiver rejected, and contracts that are
    still due. `elsewhere`: another process exports now. `wait_s`: how long to send nothing (seconds). `more`: more may be due.
    """

    exported: int = 0
    rejected: int = 0
    due: int = 0
    elsewhere: bool = False
    more: bool = False
    wait_s: float = 0.0
    error: ServiceUnreachable | None = None


def check_configured(config: Config) -> None:
    """Raise UsageError if no receiver is configured, and ConfigInvalid if the package for it is missing."""
    if not config.otel.endpoint:
        raise UsageError(
            "no receiver of spans is configured", 'Set endpoint = "http://HOST:4318" in [otel] of aorch.toml.'
        )
    try:
        is_installed = importlib.util.find_spec("opentelemetry.proto") is not None
    except ModuleNotFoundError:
        is_installed = False
    if not is_installed:
        raise ConfigInvalid("[otel] needs the package opentelemetry-proto, which is not installed", INSTALL)


class SpanExport:
    """Exports the spans of the configured ledger, which must exist, until `close`. Raises LedgerError."""

    def __init__(self, config: Config, version: str) -> None:
        self._config, self._version = config, version
        self._source = EndedExchanges(config.ledger)
        self._outbox = Outbox(config.ledger, destination=OTEL)
        self._builder = SpanBuilder(self._source, content=config.otel.content)
        self._searched = 0

    def close(self) -> None:
        """Close the ledger."""
        self._source.close()
        self._outbox.close()

    def any_due(self) -> bool:
        """Whether any exchange has ended since the last export."""
        position = max(self._searched, self._outbox.reached()[0])
        while position < self._source.newest():
            found, position = self._source.after(position, 1, content=False)
            if found:
                return True
            self._searched = position
        return False

    def due(self) -> int:
        """The number of contracts that are due."""
        return self._source.beyond(self._outbox.reached()[0])

    def skip(self) -> int:
        """Count all exchanges that have ended as exported. Returns the number of contracts that were due. Raises Conflict while
        another process exports.
        """
        try:
            lock = LockedState(self._config.ledger, _NAME)
        except BlockingIOError as error:
            raise Conflict("another process is exporting spans", "Try again in a few seconds.") from error
        try:
            due, newest = self.due(), self._source.newest()
            self._outbox.advance(newest, newest)
        finally:
            lock.close()
        return due

    async def run_round(self, *, ignore_backoff: bool = False) -> ExportResult:
        """Export for about ROUND_S, unless the receiver failed recently; `ignore_backoff` exports even then."""
        try:
            lock = await in_thread(LockedState, self._config.ledger, _NAME)
        except BlockingIOError:
            return ExportResult(elsewhere=True)
        try:
            state = _decoded(lock.read())
            wait_s = min(state.retry_at - time.time(), BACKOFF.longest_s)
            if wait_s > 0 and not ignore_backoff:
                return ExportResult(wait_s=wait_s)
            result = ExportResult()
            state.pid = os.getpid()
            try:
                await self._export(state, result, time.monotonic() + ROUND_S)
                state.failures, state.retry_at = 0, 0.0
            except ServiceUnreachable as error:
                pause_s = max(BACKOFF.pause_s(state.failures + 1), getattr(error, "pause_s", 0.0))
                state.failures, state.retry_at = min(state.failures + 1, 20), time.time() + pause_s
                state.error, state.error_at = str(error)[:400], now()
                result.error, result.wait_s = error, min(pause_s, BACKOFF.longest_s)
            lock.write(msgspec.json.encode(state))
            return result
        finally:
            lock.close()

    async def _export(self, state: ExportState, result: ExportResult, until: float) -> None:
        from aorch.telemetry.otlp_receiver import OtlpReceiver  # noqa: PLC0415  needs the extra

        receiver = OtlpReceiver(self._config.otel.endpoint, settings.otel_headers(self._config))
        send = _Sender(receiver.send, self._config.otel.service_name, self._version, state, result)
        committed = position = (await asyncio.to_thread(self._outbox.reached))[0]
        try:
            while position < await asyncio.to_thread(self._source.newest):
                if time.monotonic() > until:
                    result.more = True
                    break
                exchanges, position = await asyncio.to_thread(
                    self._source.after, position, BATCH, content=self._config.otel.content
                )
                spans = await asyncio.to_thread(self._builder.spans, exchanges)
                await send(exchanges, spans)
                if exchanges or position - committed >= UNSENT:
                    await asyncio.to_thread(self._outbox.advance, position, position)
                    committed = position
        finally:
            await receiver.close()


@dataclass(slots=True)
class _Sender:
    """Sends the spans of exchanges, and counts them in `result`."""

    send: Callable[[bytes], Any]
    service_name: str
    version: str
    state: ExportState
    result: ExportResult

    async def __call__(self, exchanges: Sequence[EndedExchange], spans: Sequence[list[Span]]) -> None:
        from aorch.telemetry.otlp_encoding import encoded  # noqa: PLC0415  needs the extra

        all_spans = [span for of_exchange in spans for span in of_exchange]
        if not all_spans:
            return
        try:
            body = await asyncio.to_thread(encoded, all_spans, self.service_name, self.version)
            rejected, reason = await self.send(body)
        except ServiceRefused as refusal:
            if len(exchanges) > 1:
                middle = len(exchanges) // 2
                await self(exchanges[:middle], spans[:middle])
                await self(exchanges[middle:], spans[middle:])
                return
            self._count_rejected(len(all_spans), f"{exchanges[0].request_id}: {refusal}")
            return
        self.result.exported += sum(1 for of_exchange in spans if of_exchange)
        if rejected:
            self._count_rejected(rejected, reason)

    def _count_rejected(self, count: int, reason: str) -> None:
        self.result.rejected += count
        self.state.rejected, self.state.rejection = self.state.rejected + count, reason[:400]


class BackgroundExport:
    """Exports in the background of a service. `log` gets a line when the receiver starts to fail, and when it works again."""

    def __init__(self, config: Config, version: str, changes: Changes, log: Callable[[str], None]) -> None:
        self._config, self._version, self._changes, self._log = config, version, changes, log
        self._woken, self._failing = asyncio.Event(), False

    async def run(self, turned: Turned) -> None:
        """Export until cancelled; what is not exported by then stays due. A loop for supervision.py."""
        export = await in_thread(SpanExport, self._config, self._version)
        try:
            with self._changes.watcher(self._woken.set, POLL_S):
                while True:
                    self._woken.clear()
                    wait_s = await self._step(export)
                    turned()
                    await (self._woken.wait() if wait_s is None else asyncio.sleep(wait_s))
        finally:
            export.close()

    async def _step(self, export: SpanExport) -> float | None:
        """Run a round if anything is due; return how long to wait before the next step (seconds), None: until a commit."""
        if not await asyncio.to_thread(export.any_due):
            return self._wait_idle()
        result = await export.run_round()
        if result.error is not None and not self._failing:
            self._failing = True
            self._log(f"{result.error}; spans stay due (aorch otel status)")
        elif result.error is None and not (result.elsewhere or result.wait_s):
            self._note_success()
        if result.rejected:
            self._log(f"the receiver rejected {result.rejected} spans (aorch otel status)")
        return result.wait_s or (0.0 if result.more else POLL_S)

    def _wait_idle(self) -> float | None:
        """How long to wait if nothing is due. If the receiver failed, another process may have exported the rest since."""
        if self._failing and not _decoded(LockedState.peek(self._config.ledger, _NAME)[0]).failures:
            self._note_success()
        return POLL_S if self._failing else None

    def _note_success(self) -> None:
        if self._failing:
            self._failing = False
            self._log("the receiver of spans works again")


async def push(config: Config, version: str) -> ExportResult:
    """Export everything that is due. Raises UsageError if no receiver is configured, ConfigInvalid and LedgerError."""
    check_configured(config)
    if not Database(config.ledger).exists():
        return ExportResult()
    export, pushed = await in_thread(SpanExport, config, version), ExportResult()
    try:
        while await asyncio.to_thread(export.any_due):
            result = await export.run_round(ignore_backoff=True)
            pushed.exported, pushed.rejected = pushed.exported + result.exported, pushed.rejected + result.rejected
            pushed.error, pushed.elsewhere = result.error, result.elsewhere
            if result.error is not None or result.elsewhere:
                break
        pushed.due = await asyncio.to_thread(export.due)
    finally:
        export.close()
    return pushed


def skip(config: Config, version: str) -> int:
    """Count everything so far as exported. Returns the number of contracts that were due. Raises as `push` does."""
    check_configured(config)
    if not Database(config.ledger).exists():
        return 0
    export = SpanExport(config, version)
    try:
        return export.skip()
    finally:
        export.close()


def status(config: Config) -> dict[str, Any]:
    """The state of the export: `endpoint` (null: off), `due` (contracts), `exporting` (a process does it now), `rejected`,
    `last_rejection`, and `last_error` (`error`, `at`, `failures` in a row, `next_in_s`) or null. Raises LedgerError.
    """
    state, is_held = LockedState.peek(config.ledger, _NAME)
    found, due = _decoded(state), 0
    if config.otel.endpoint and Database(config.ledger).exists():
        source, outbox = EndedExchanges(config.ledger), Outbox(config.ledger, reading=True, destination=OTEL)
        due = source.beyond(outbox.reached()[0])
        source.close()
        outbox.close()
    next_in_s = round(max(found.retry_at - time.time(), 0), 3)
    last = {"error": found.error, "at": found.error_at, "failures": found.failures, "next_in_s": next_in_s}
    return {
        "endpoint": config.otel.endpoint or None,
        "content": config.otel.content,
        "due": due,
        "exporting": is_held,
        "rejected": found.rejected,
        "last_rejection": found.rejection or None,
        "last_error": last if found.error else None,
    }


def _decoded(state: bytes) -> ExportState:
    try:
        return msgspec.json.decode(state, type=ExportState)
    except msgspec.MsgspecError:
        return ExportState()

"""Compresses sessions: the contracts of a session that no memory block covers yet become a new block in the ledger."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from aorch.clock import now, rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.config.settings import Config
from aorch.engine.recovery import recover
from aorch.errors import AorchError, ConfigInvalid, Conflict, LedgerError, LlmOff, UsageError
from aorch.ids import new_id
from aorch.ledger.database import Database, exclusive
from aorch.ledger.memory_blocks import Segment
from aorch.memory.block import BlockRequest, MemoryBlock
from aorch.memory.corrections import Corrections
from aorch.memory.local.local_compressor import compress_locally
from aorch.memory.prompt import kept_tokens
from aorch.memory.session_source import NewBlock, SessionSource
from aorch.net.probe import listening
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from aorch.memory.memagent.memagent_client import MemAgentClient

VIAS = ("auto", "local", "llm", "memagent")
FEWEST_TOKENS, DEFAULT_TOKENS, MOST_TOKENS = 64, 512, 65_536
FEWEST_CONTRACTS = 4
"""Smaller sessions are not worth a memory block, such as the two contracts of a task that was run without a session."""
PREFIX = "mem_"
WAIT_S = 30.0
"""How long to wait for another compression of the same ledger."""
POLL_S = 0.05
SLICE_S = 0.2
"""How long to compress sessions locally before their blocks are committed, together: a transaction costs as much as a small
block.
"""
_OF_ALL_SESSIONS = (LedgerError, ConfigInvalid)
"""Errors that concern every session."""

BlockAndCompanion = tuple[MemoryBlock, dict[str, Any] | None]
"""A block and its companion data: MemAgent's answer in JSON form, or None."""
Service = Callable[[Segment], Awaitable[BlockAndCompanion]]
"""Makes the block of a segment with a model or with MemAgent."""
Waiting = Iterator[tuple[str, bool]]
"""Sessions to compress, each with whether it may have new contracts."""


@dataclass(frozen=True, slots=True)
class CompressionOptions:
    """How to compress sessions, and which of them to skip.

    Sessions are skipped if they were written to after `idle_since`, have fewer than `min_contracts` new contracts, or have no
    memory block yet and fewer than `min_first` contracts. A `preview` writes nothing, neither to the ledger nor to MemAgent.
    Raises UsageError for an invalid value.
    """

    via: str = "auto"
    intent: str | None = None
    max_tokens: int = DEFAULT_TOKENS
    idle_since: datetime | None = None
    min_contracts: int = 1
    min_first: int = 1
    preview: bool = False

    def __post_init__(self) -> None:
        if self.via not in VIAS:
            raise UsageError(f"invalid via: {self.via!r}", f"Choose {', '.join(VIAS[:-1])} or {VIAS[-1]}.")
        if not FEWEST_TOKENS <= self.max_tokens <= MOST_TOKENS:
            raise UsageError(f"invalid max_tokens: {self.max_tokens}", f"Give {FEWEST_TOKENS} to {MOST_TOKENS}.")

    def skips(self, segment: Segment) -> bool:
        """Whether the segment is left for a later run."""
        busy = self.idle_since is not None and segment.newest_at > rfc3339(self.idle_since)
        fewest = self.min_contracts if segment.after else max(self.min_contracts, self.min_first)
        return busy or segment.contracts < fewest


@dataclass(frozen=True, slots=True)
class CompressionResult:
    """The result for one session. `compressed` is the number of contracts that the new block covers.

    It is 0 if nothing was new, or if the session was `skipped`.
    """

    session_id: str
    compressed: int = 0
    block: MemoryBlock | None = None
    companion: dict[str, Any] | None = None
    skipped: bool = False
    error: AorchError | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: `status` (`ok` or `error`), `session_id`, `compressed`, `memory_block`, `error`."""
        return {
            "status": "ok" if self.error is None else "error",
            "session_id": self.session_id,
            "compressed": self.compressed,
            "memory_block": None if self.block is None else {**self.block.as_dict(), "beside": self.companion},
            "error": None if self.error is None else str(self.error),
        }

    def warnings(self) -> Iterator[str]:
        """Warnings about failures that did not prevent the block."""
        if self.block is not None and self.block.compressor.fallback_reason:
            yield f"the local compressor made the block: {self.block.compressor.fallback_reason}"
        if self.companion is not None and self.companion.get("error"):
            yield f"the block was not sent to MemAgent: {self.companion['error']}"


async def compress_session(
    config: Config, session_id: str, options: CompressionOptions, wait_s: float = WAIT_S
) -> CompressionResult:
    """Compress the new contracts of one session. The block is durable when this returns.

    Raises NotFound if the session has no contracts, Conflict if another compression of the ledger takes longer than
    `wait_s`, LlmOff, ConfigInvalid and LedgerError. If the model or MemAgent fails, the result has a local block and a
    warning.
    """
    with SessionSource(config.ledger) as source:
        await asyncio.to_thread(source.segment, session_id)
        async with _only_compression(config.ledger, wait_s), _chosen_service(config, source, options) as service:
            (done,) = await _compress_next(source, iter([(session_id, True)]), options, service)
    if done.error is not None:
        raise done.error
    return done


async def compress_sessions(
    config: Config, sessions: Iterable[str] | None, options: CompressionOptions
) -> AsyncIterator[CompressionResult]:
    """Compress the new contracts of `sessions`, or of all sessions. Yields each result after its block is durable.

    If a session fails, its result has the error, and the next session follows. Raises Conflict at once if another
    compression is running, and the errors that concern every session: LlmOff, ConfigInvalid, LedgerError. A preview runs
    beside other compressions.
    """
    alone = contextlib.nullcontext() if options.preview else _only_compression(config.ledger, 0)
    with SessionSource(config.ledger) as source:
        async with alone, _chosen_service(config, source, options) as service:
            if not options.preview:
                await in_thread(recover, config.ledger)
            waiting = iter(await asyncio.to_thread(source.sessions, sessions))
            while results := await _compress_next(source, waiting, options, service):
                for done in results:
                    if isinstance(done.error, _OF_ALL_SESSIONS):
                        raise done.error
                    yield done


async def _compress_next(
    source: SessionSource, waiting: Waiting, options: CompressionOptions, service: Service | None
) -> list[CompressionResult]:
    """Compress one or more of the sessions that wait. Their blocks are durable when this returns.

    The list is empty if no session waits. After an error that concerns every session it has no other result.
    """
    if service is None:
        made = await in_thread(_made_locally, source, waiting, options)
    else:
        made = [await _made_with(service, source, *session, options) for session in islice(waiting, 1)]
    new = [each for each in made if isinstance(each, NewBlock)]
    conflicts = await in_thread(source.add, new) if new and not options.preview else {}
    return [_result(each, conflicts) if isinstance(each, NewBlock) else each for each in made]


def _made_locally(
    source: SessionSource, waiting: Waiting, options: CompressionOptions
) -> list[NewBlock | CompressionResult]:
    """The blocks of the next sessions, made in SLICE_S, and the results of sessions that get none."""
    made: list[NewBlock | CompressionResult] = []
    end = time.monotonic() + SLICE_S
    for session_id, may_have_new in waiting:
        try:
            found = _segment(source, session_id, may_have_new, options)
            made.append(NewBlock(found, _local_block(source, found, options)) if isinstance(found, Segment) else found)
        except AorchError as error:
            made.append(CompressionResult(session_id, error=error))
            if isinstance(error, _OF_ALL_SESSIONS):
                break
        if time.monotonic() >= end:
            break
    return made


async def _made_with(
    service: Service, source: SessionSource, session_id: str, may_have_new: bool, options: CompressionOptions
) -> NewBlock | CompressionResult:
    """The block that a service makes of a session, or the result if it gets none."""
    try:
        segment = await asyncio.to_thread(_segment, source, session_id, may_have_new, options)
        return NewBlock(segment, *await service(segment)) if isinstance(segment, Segment) else segment
    except AorchError as error:
        return CompressionResult(session_id, error=error)


def _segment(
    source: SessionSource, session_id: str, may_have_new: bool, options: CompressionOptions
) -> Segment | CompressionResult:
    """The segment to compress, or the result if there is none."""
    segment = source.segment(session_id) if may_have_new else None
    if segment is None or not segment.contracts:
        return CompressionResult(session_id)
    return CompressionResult(session_id, skipped=True) if options.skips(segment) else segment


def _result(made: NewBlock, conflicts: Mapping[str, Conflict]) -> CompressionResult:
    session_id = made.segment.session_id
    if session_id in conflicts:
        return CompressionResult(session_id, error=conflicts[session_id])
    return CompressionResult(session_id, made.segment.contracts, made.block, made.companion)


@contextlib.asynccontextmanager
async def _only_compression(ledger: LedgerLocation, wait_s: float) -> AsyncIterator[None]:
    """Run the block while no other process compresses sessions of the ledger. Raises Conflict, and LedgerReadOnly."""
    give_up = time.monotonic() + wait_s
    with contextlib.ExitStack() as locks:
        while not _acquire(ledger, locks):
            if time.monotonic() >= give_up:
                raise Conflict(
                    f"another compression is running on the ledger {ledger}",
                    "Try again when it has finished. The blocks that it has made are kept.",
                )
            await asyncio.sleep(POLL_S)
        yield


def _acquire(ledger: LedgerLocation, locks: contextlib.ExitStack) -> bool:
    if not Database(ledger).exists():
        return True  # there is nothing to compress
    return locks.enter_context(exclusive(ledger, "compress"))


@contextlib.asynccontextmanager
async def _chosen_service(
    config: Config, source: SessionSource, options: CompressionOptions
) -> AsyncIterator[Service | None]:
    """The service of `options.via`; None for the local compressor. `auto` is the model if one is configured, otherwise MemAgent,
    otherwise local.
    """
    via = options.via
    if via == "auto":
        via = "llm" if config.llm else "memagent" if await _has_memagent(config) else "local"
    if via == "local" or (via == "memagent" and options.preview):  # MemAgent gets the local block
        yield None
    elif via == "llm":
        from aorch.memory.llm.llm_client import LlmClient  # noqa: PLC0415  an optional service
        from aorch.memory.llm.llm_compressor import compress_with_llm  # noqa: PLC0415  likewise

        if config.llm is None:
            raise LlmOff(
                "no model is configured", "Add a table [llm] to aorch.toml (see `aorch help --docs compressors`)."
            )
        async with LlmClient(config.llm) as llm:

            async def with_llm(segment: Segment) -> BlockAndCompanion:
                corrections = await asyncio.to_thread(source.corrections, segment.session_id)
                request = _request(segment, corrections, options)
                block = await compress_with_llm(source.contracts(segment), llm, request)
                return corrections.applied(block, options.max_tokens), None

            yield with_llm
    else:
        from aorch.memory.memagent.memagent_client import MemAgentClient  # noqa: PLC0415  an optional service

        if not config.memagent_url:
            raise UsageError("MemAgent is switched off", "Set MEMAGENT_URL=http://HOST:PORT.")
        async with MemAgentClient(config.memagent_url) as memagent:
            yield lambda segment: _compress_with_memagent(source, segment, options, memagent)


async def _has_memagent(config: Config) -> bool:
    """Whether MEMAGENT_URL is set, or a MemAgent answers at the documented default address."""
    if config.memagent_configured or not config.memagent_url:
        return config.memagent_configured
    if not await listening(config.memagent_url):  # the usual case, detected without importing aiohttp
        return False
    from aorch.memory.memagent.memagent_client import MemAgentClient  # noqa: PLC0415  an optional service

    async with MemAgentClient(config.memagent_url) as memagent:
        return await memagent.health() != "absent"


def _local_block(source: SessionSource, segment: Segment, options: CompressionOptions) -> MemoryBlock:
    corrections = source.corrections(segment.session_id)
    block = compress_locally(source.contracts(segment), _request(segment, corrections, options))
    return corrections.applied(block, options.max_tokens)


async def _compress_with_memagent(
    source: SessionSource, segment: Segment, options: CompressionOptions, memagent: "MemAgentClient"
) -> BlockAndCompanion:
    from aorch.memory.memagent.memagent_compressor import send_to_memagent  # noqa: PLC0415  an optional service

    block = await asyncio.to_thread(_local_block, source, segment, options)
    sent = await asyncio.to_thread(source.sent_notes, segment.session_id)
    return block, msgspec.to_builtins(await send_to_memagent(block, memagent, sent))


def _request(segment: Segment, corrections: Corrections, options: CompressionOptions) -> BlockRequest:
    return BlockRequest(
        block_id=f"{PREFIX}{new_id()}",
        created_at=now(),
        session_id=segment.session_id,
        intent=options.intent,
        max_tokens=options.max_tokens - kept_tokens(corrections.kept, options.max_tokens),
        asked_before=segment.asked_before,
        forgotten=[claim.text for _, claim in corrections.forgotten],
    )

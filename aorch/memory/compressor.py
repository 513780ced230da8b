"""Compression: what is new of a session becomes a memory block in the ledger. Earlier blocks are not read for it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from aorch import jsonio
from aorch.clock import now, rfc3339
from aorch.config import config_file
from aorch.config.settings import Config
from aorch.engine.recovery import recover
from aorch.engine.threads import in_thread
from aorch.errors import AorchError, ConfigInvalid, Conflict, LedgerError, LlmOff, NotFound, UsageError
from aorch.ids import new_id
from aorch.ledger.memory_blocks import BlockRow, Memory, Segment, add_block
from aorch.ledger.sqlite import process_locks
from aorch.memory import MemoryBlock, compress
from aorch.net.probe import listening

VIAS = ("auto", "local", "llm", "memagent")
FEWEST_TOKENS, DEFAULT_TOKENS, MOST_TOKENS = 64, 512, 65_536
PREFIX = "mem_"
WAIT_S = 30.0
"""How long a caller waits for another compression on the same ledger."""
LOOK_S = 0.05

Contracts = Iterator[dict[str, Any]]
Made = tuple[MemoryBlock, dict[str, Any] | None]
"""A block, and what is to stand beside it."""
Make = Callable[[Segment], Awaitable[Made]]


@dataclass(frozen=True, slots=True)
class How:
    """How sessions are compressed, and which are left for later: those that were written to since `idle_since`, and those
    with fewer than `fewest` new contracts.

    Raises UsageError for a value that is none.
    """

    via: str = "auto"
    intent: str | None = None
    max_tokens: int = DEFAULT_TOKENS
    idle_since: datetime | None = None
    fewest: int = 1

    def __post_init__(self) -> None:
        if self.via not in VIAS:
            raise UsageError(f"via is {self.via!r}", f"Choose {', '.join(VIAS[:-1])} or {VIAS[-1]}.")
        if not FEWEST_TOKENS <= self.max_tokens <= MOST_TOKENS:
            raise UsageError(f"max_tokens is {self.max_tokens}", f"Give {FEWEST_TOKENS} to {MOST_TOKENS}.")

    def leaves(self, segment: Segment) -> bool:
        """Whether that is left for later."""
        busy = self.idle_since is not None and segment.newest_at > rfc3339(self.idle_since)
        return busy or segment.contracts < self.fewest


@dataclass(frozen=True, slots=True)
class Compressed:
    """What came of a session: how many contracts the new block covers (0: nothing was new, or it is left for `later`)."""

    session_id: str
    compressed: int = 0
    block: MemoryBlock | None = None
    beside: dict[str, Any] | None = None
    later: bool = False
    error: AorchError | None = None

    def as_dict(self) -> dict[str, Any]:
        """The seed document's answer: `status` (`ok` or `error`), `session_id`, `compressed`, `memory_block`, `error`."""
        return {
            "status": "ok" if self.error is None else "error",
            "session_id": self.session_id,
            "compressed": self.compressed,
            "memory_block": None if self.block is None else {**self.block.as_dict(), "beside": self.beside},
            "error": None if self.error is None else str(self.error),
        }

    def shortfalls(self) -> Iterator[str]:
        """What was asked for and did not take place, though there is a block."""
        if self.block is not None and self.block.compressor.fallback_reason:
            yield f"the block is the local compressor's: {self.block.compressor.fallback_reason}"
        if self.beside is not None and self.beside.get("error"):
            yield f"MemAgent has not taken it: {self.beside['error']}"


async def compress_session(config: Config, session_id: str, how: How, wait_s: float = WAIT_S) -> Compressed:
    """Compress what is new of one session; the block is durable when this returns.

    Raises NotFound where the session has no contracts, Conflict where another compression on the ledger takes longer than
    `wait_s`, LlmOff, ConfigInvalid and LedgerError. Where a service fails, the local block stands in and says so.
    """
    await asyncio.to_thread(_segment, config.ledger, session_id)
    async with _alone(config.ledger, wait_s), _making(config, how) as make:
        return await _compress(config.ledger, session_id, how, make)


async def compress_sessions(config: Config, sessions: Iterable[str] | None, how: How) -> AsyncIterator[Compressed]:
    """Compress what is new of `sessions`, or of all that have contracts, each durable when it is told.

    A session that cannot be compressed is told with its error, and the next one follows. Raises Conflict at once where
    another compression is running, and what concerns every session: LlmOff, ConfigInvalid, LedgerError.
    """
    async with _alone(config.ledger, 0), _making(config, how) as make:
        await in_thread(recover, config.ledger)
        for session_id, grown in await asyncio.to_thread(_chosen, config.ledger, sessions):
            if not grown:
                yield Compressed(session_id)
                continue
            try:
                yield await _compress(config.ledger, session_id, how, make)
            except (LedgerError, ConfigInvalid):
                raise
            except AorchError as error:
                yield Compressed(session_id, error=error)


async def _compress(ledger: Path, session_id: str, how: How, make: Make) -> Compressed:
    segment = await asyncio.to_thread(_segment, ledger, session_id)
    if not segment.contracts:
        return Compressed(session_id)
    if how.leaves(segment):
        return Compressed(session_id, later=True)
    block, beside = await make(segment)
    row = BlockRow(
        block_id=block.block_id,
        session_id=segment.session_id,
        created_at=block.created_at,
        last_position=segment.last,
        block=jsonio.encode(block.as_dict()),
        beside=None if beside is None else jsonio.encode(beside),
    )
    if not await in_thread(add_block, ledger, row, segment.after):
        raise Conflict(f"the session {session_id!r} was compressed by somebody else meanwhile", "Ask again.")
    return Compressed(session_id, segment.contracts, block, beside)


def _segment(ledger: Path, session_id: str) -> Segment:
    with Memory(ledger) as memory:
        segment = memory.segment(session_id)
    if segment is None:
        raise NotFound(f"no session is called {session_id!r}", "See `aorch contracts list`.")
    return segment


def _chosen(ledger: Path, sessions: Iterable[str] | None) -> list[tuple[str, bool]]:
    """Sessions, each with whether there is something new in it, or that is yet to be seen."""
    if sessions is not None:
        return [(session_id, True) for session_id in dict.fromkeys(sessions)]
    with Memory(ledger) as memory:
        return list(memory.every_session())


@contextlib.asynccontextmanager
async def _alone(ledger: Path, wait_s: float) -> AsyncIterator[None]:
    """No other compression runs on that ledger while the block does. Raises Conflict, and LedgerReadOnly."""
    give_up = time.monotonic() + wait_s
    with contextlib.ExitStack() as held:
        while not _held(ledger, held):
            if time.monotonic() >= give_up:
                raise Conflict(
                    f"another compression is running on the ledger {ledger}",
                    "Try again when it has ended; what it has made so far is kept.",
                )
            await asyncio.sleep(LOOK_S)
        yield


def _held(ledger: Path, held: contextlib.ExitStack) -> bool:
    if not config_file.exists(ledger):
        return True  # nothing is there to be compressed
    return held.enter_context(process_locks.only_one(ledger, "compress"))


@contextlib.asynccontextmanager
async def _making(config: Config, how: How) -> AsyncIterator[Make]:
    """What makes blocks: `auto` takes the model where one is configured, else MemAgent where that is, else nobody."""
    via = how.via
    if via == "auto":
        via = "llm" if config.llm else "memagent" if await _memagent_is_there(config) else "local"
    if via == "local":
        yield lambda segment: _by_nobody(config.ledger, segment, how)
    elif via == "llm":
        from aorch.memory.llm.llm_client import Llm  # noqa: PLC0415  likewise
        from aorch.memory.llm.llm_compressor import compress_by_llm  # noqa: PLC0415  an optional dependency begins here

        if config.llm is None:
            raise LlmOff("no model is configured to be asked", "Add a table [llm] to aorch.toml (docs/compressors.md).")
        async with Llm(config.llm) as llm:

            async def by_llm(segment: Segment) -> Made:
                return await compress_by_llm(_contracts(config.ledger, segment), llm, **_labels(segment, how)), None

            yield by_llm
    else:
        from aorch.memory.memagent.memagent_client import MemAgent  # noqa: PLC0415  likewise

        if not config.memagent_url:
            raise UsageError("MemAgent is switched off", "Set MEMAGENT_URL=http://HOST:PORT.")
        async with MemAgent(config.memagent_url) as memagent:
            yield lambda segment: _by_memagent(config.ledger, segment, how, memagent)


async def _memagent_is_there(config: Config) -> bool:
    """Whether MEMAGENT_URL names a MemAgent, or one answers at the documented default address."""
    if config.memagent_configured or not config.memagent_url:
        return config.memagent_configured
    if not await listening(config.memagent_url):  # mostly so, and known without importing aiohttp
        return False
    from aorch.memory.memagent.memagent_client import MemAgent  # noqa: PLC0415  an optional service begins here

    async with MemAgent(config.memagent_url) as memagent:
        return await memagent.health() != "absent"


async def _by_nobody(ledger: Path, segment: Segment, how: How) -> Made:
    return await asyncio.to_thread(compress, _contracts(ledger, segment), **_labels(segment, how)), None


async def _by_memagent(ledger: Path, segment: Segment, how: How, memagent: Any) -> Made:
    from aorch.memory.memagent.memagent_compressor import hand_to_memagent  # noqa: PLC0415  likewise

    block, _ = await _by_nobody(ledger, segment, how)
    sent = await asyncio.to_thread(_sent, ledger, segment.session_id)
    return block, msgspec.to_builtins(await hand_to_memagent(block, memagent, sent))


def _sent(ledger: Path, session_id: str) -> list[str]:
    with Memory(ledger) as memory:
        return [note for beside in memory.beside(session_id) for note in beside.get("notes", ())]


def _contracts(ledger: Path, segment: Segment) -> Contracts:
    """The contracts of `segment` in their JSON form, oldest first, a chunk of them in memory at a time."""
    from aorch.ledger.reader import Filter, Reader  # noqa: PLC0415  SQLAlchemy is for reading contracts only

    with Reader(ledger) as reader:
        which = Filter(session_id=segment.session_id)
        for row in reader.stream(which, after=segment.after, last=segment.last):
            yield row.as_dict()


def _labels(segment: Segment, how: How) -> dict[str, Any]:
    return {
        "block_id": f"{PREFIX}{new_id()}",
        "created_at": now(),
        "session_id": segment.session_id,
        "intent": how.intent,
        "max_tokens": how.max_tokens,
        "asked_before": segment.asked_before,
    }

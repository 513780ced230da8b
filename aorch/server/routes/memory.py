"""Memory: sessions are compressed into memory blocks, and the blocks are read."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from aiohttp import web

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Forbidden
from aorch.ledger.memory_blocks import Memory
from aorch.ledger.reader import Reader
from aorch.memory import correcting
from aorch.memory.compressor import CompressionOptions, CompressionResult, compress_session, compress_sessions
from aorch.memory.corrections import Correction
from aorch.memory.memory_queries import (
    BlockReader,
    as_prompt,
    block_forms,
    blocks_of_session,
    memory_not_found,
    search_page,
    verification,
)
from aorch.process.threads import in_thread
from aorch.server.fast_path import json_response
from aorch.server.pagination import Page, page_of, page_response, read_page
from aorch.server.problems import problem_response
from aorch.server.progress_stream import stream_items
from aorch.server.request_body import read_body
from aorch.server.request_context import CONTEXT, services_of
from aorch.server.request_parsing import parse_body, parse_query, reject_other_capability
from aorch.server.route import Route
from aorch.server.schemas.memory import (
    BlockDetail,
    BlockQuery,
    ClaimPage,
    ClaimQuery,
    ClaimReference,
    CompressAnswer,
    CompressBody,
    CompressManyBody,
    CorrectionForm,
    CorrectionPage,
    CorrectionQuery,
    MemoryPage,
    MemoryQuery,
    MemorySessions,
    NoteBody,
    PromptQuery,
    SessionMemory,
    Verification,
    VerifyBody,
)

BLOCKS_AT_ONCE = 16
"""Number of blocks to read together. A block can have a quarter of a megabyte."""


async def compress(request: web.Request) -> web.Response:
    """Compress the new contracts of a session into a memory block.

    The block is in the ledger when this returns; `compressed` is 0 if nothing was new. Waits up to 30 s for another compression
    on the same ledger. `memory_block` is null for a token without the scope `read`.
    """
    reject_other_capability(request[CONTEXT], None)
    body = parse_body(await read_body(request), CompressBody)
    options = CompressionOptions(body.via, body.intent, body.max_tokens)
    done = await compress_session(services_of(request).orchestrator.config, body.session_id, options)
    form = done.as_dict()
    return json_response(form if request[CONTEXT].caller.reads else {**form, "memory_block": None})


async def compress_many(request: web.Request) -> web.StreamResponse:
    """Compress the new contracts of several sessions, or of all, and stream the results as server-sent events.

    `session` has the result for one session, after its block is in the ledger, with `skipped`, and with a `problem` if it failed.
    The last event is `end`, or `error` with a problem document. 409: another compression is running. The blocks are null for a
    token without the scope `read`.
    """
    reject_other_capability(request[CONTEXT], None)
    body = parse_body(await read_body(request), CompressManyBody)
    options = CompressionOptions(**body.model_dump(exclude={"sessions"}))
    results = compress_sessions(services_of(request).orchestrator.config, body.sessions, options)
    reads = request[CONTEXT].caller.reads
    return await stream_items(request, "session", (_result_form(done, reads=reads) async for done in results))


def _result_form(done: CompressionResult, *, reads: bool) -> dict[str, Any]:
    form = {**done.as_dict(), "skipped": done.skipped, "problem": None}
    if not reads:
        form["memory_block"] = None
    if done.error is not None:
        form["problem"] = jsonio.decode(problem_response(done.error).text or "")
    return form


async def verify_memory(request: web.Request) -> web.Response:
    """Check that every cited contract of memory blocks exists and contains the quotations from it."""
    body = parse_body(await read_body(request), VerifyBody)
    ledger = services_of(request).orchestrator.config.ledger
    return json_response(await in_thread(verification, ledger, body.references))


async def list_memory_sessions(request: web.Request) -> web.Response:
    """List the sessions that have memory blocks."""
    return json_response({"sessions": await services_of(request).readers.read(_memory_sessions)})


async def show_block(request: web.Request) -> web.Response:
    """Show one memory block, and the text of it for a model's prompt."""
    block_id, query = request.match_info["block_id"], parse_query(request, PromptQuery)
    return json_response(
        await services_of(request).readers.read(lambda reader: _block(reader.path, block_id, query.max_tokens))
    )


def _memory_sessions(reader: Reader) -> list[str]:
    with Memory(reader.path) as memory:
        return memory.sessions()


def _block(ledger: LedgerLocation, block_id: str, max_tokens: int) -> dict[str, Any]:
    with Memory(ledger) as memory:
        row = memory.block(block_id)
        if row is None:
            raise memory_not_found("memory block", block_id)
        form = BlockReader(memory).form(row)
    return {"block": form, "prompt": as_prompt(ledger, row.session_id, [row], max_tokens)}


async def show_memory(request: web.Request) -> web.Response:
    """Show the memory of a session, as blocks or as text for a model's prompt.

    Blocks come in pages, oldest first. With `as=prompt` the memory is one text of at most `max_tokens`.
    """
    query = parse_query(request, MemoryQuery)
    session_id = request.match_info["session_id"]
    if query.form == "prompt":
        return json_response(
            await services_of(request).readers.read(
                lambda reader: as_prompt(
                    reader.path, session_id, blocks_of_session(reader.path, session_id), query.max_tokens
                )
            )
        )

    def read(reader: Reader) -> Page:
        return page_of(_blocks(reader.path, session_id, int(query.cursor or 0)), query.limit)

    page = await read_page(request, read)
    return page_response(request, "blocks", page, session_id=session_id)


async def list_memory(request: web.Request) -> web.Response:
    """List the memory blocks of all sessions, newest first, in pages."""
    query = parse_query(request, BlockQuery)

    def read(reader: Reader) -> Page:
        return page_of(_newest(reader.path, query.session_id, query.cursor), query.limit)

    return page_response(request, "blocks", await read_page(request, read))


async def search_memory(request: web.Request) -> web.Response:
    """Search for claims that contain all the words, those of the newest memory blocks first, in pages.

    A page ends with the last claim of a block, so it can be longer than `limit`. It reads at most 2,000 blocks: even a page
    without claims can have a next one.
    """
    query = parse_query(request, ClaimQuery)

    def read(reader: Reader) -> Page:
        found, following = search_page(
            reader.path, query.text, query.session_id, before=query.cursor, limit=query.limit
        )
        return [jsonio.encode_bytes(claim.as_dict()) for claim in found], following

    return page_response(request, "claims", await read_page(request, read))


async def pin_claim(request: web.Request) -> web.Response:
    """Pin a claim: it stays in every later prompt and memory block of its session, whatever the token limit.

    Pins and notes take up to three quarters of a prompt. A session can have 50 of them. Pinning a claim again has no effect.
    """
    body = parse_body(await read_body(request), ClaimReference)
    return await _corrected(request, correcting.pin_claim, body.claim_id)


async def forget_claim(request: web.Request) -> web.Response:
    """Leave a claim, and later claims with the same words, out of the memory of its session.

    The contracts that it comes from do not change. Forgetting a claim again has no effect.
    """
    body = parse_body(await read_body(request), ClaimReference)
    return await _corrected(request, correcting.forget_claim, body.claim_id)


async def add_note(request: web.Request) -> web.Response:
    """Add a note of a person to the memory of a session: a claim that cites its own contract."""
    body = parse_body(await read_body(request), NoteBody)
    return await _corrected(request, correcting.add_note, body.session_id, body.text)


async def undo_correction(request: web.Request) -> web.Response:
    """Undo a pin, a note or a forgotten claim. The ID is that of the correction's contract."""
    return await _corrected(request, correcting.undo_correction, request.match_info["contract_id"])


async def list_corrections(request: web.Request) -> web.Response:
    """List the pins, notes and forgotten claims that apply, by session, in pages."""
    query = parse_query(request, CorrectionQuery)

    def read(reader: Reader) -> Page:
        found = correcting.active_corrections(reader.path, query.session_id, query.cursor)
        return page_of(((one.contract_id, one.as_dict()) for one in found), query.limit)

    return page_response(request, "corrections", await read_page(request, read))


async def _corrected(request: web.Request, correct: Callable[..., Correction], *what: str) -> web.Response:
    caller = request[CONTEXT].caller
    if caller.capabilities is not None or caller.agent_id is not None:
        raise Forbidden(
            "a token that is limited to capabilities or bound to an agent cannot correct memory",
            "Send another token with the scope run.",
        )
    by = correcting.By(caller.agent_id, caller.stamp or None)
    form = (await in_thread(partial(correct, services_of(request).orchestrator.config, *what, by=by))).as_dict()
    return json_response(form if caller.reads else {**form, "text": None})


def _newest(ledger: LedgerLocation, session_id: str | None, before: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the blocks before that one, newest first."""
    with Memory(ledger) as memory:
        blocks = BlockReader(memory)
        while found := memory.newest(session_id, before=before, limit=BLOCKS_AT_ONCE):
            for row in found:
                yield row.block_id, blocks.form(row)
            before = found[-1].block_id


def _blocks(ledger: LedgerLocation, session_id: str, after: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the blocks of a session after that position, oldest first. Raises NotFound."""
    while found := blocks_of_session(ledger, session_id, after=after, limit=BLOCKS_AT_ONCE):
        for row, form in zip(found, block_forms(ledger, found), strict=True):
            yield str(row.last_position), form
        after = found[-1].last_position


ROUTES = (
    Route("POST", "/v1/compress", compress, "run", "memory", CompressAnswer, body=CompressBody),
    Route("POST", "/v1/compress/sessions", compress_many, "run", "memory", None, body=CompressManyBody, counted=False),
    Route("GET", "/v1/memory", list_memory, "read", "memory", MemoryPage, query=BlockQuery),
    Route("GET", "/v1/memory/search", search_memory, "read", "memory", ClaimPage, query=ClaimQuery),
    Route("GET", "/v1/memory/sessions", list_memory_sessions, "read", "memory", MemorySessions),
    Route("GET", "/v1/memory/blocks/{block_id}", show_block, "read", "memory", BlockDetail, query=PromptQuery),
    Route("POST", "/v1/memory/verify", verify_memory, "read", "memory", Verification, body=VerifyBody),
    Route("POST", "/v1/memory/pin", pin_claim, "run", "memory", CorrectionForm, body=ClaimReference),
    Route("POST", "/v1/memory/forget", forget_claim, "run", "memory", CorrectionForm, body=ClaimReference),
    Route("POST", "/v1/memory/note", add_note, "run", "memory", CorrectionForm, body=NoteBody),
    Route("GET", "/v1/memory/corrections", list_corrections, "read", "memory", CorrectionPage, query=CorrectionQuery),
    Route("DELETE", "/v1/memory/corrections/{contract_id}", undo_correction, "run", "memory", CorrectionForm),
    Route("GET", "/v1/sessions/{session_id}/memory", show_memory, "read", "memory", SessionMemory, query=MemoryQuery),
)

"""Memory: sessions are compressed into memory blocks, and the blocks are read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from aorch.ledger.reader import Reader
from aorch.memory.compressor import CompressionOptions, compress_session
from aorch.memory.memory_queries import as_prompt, blocks_of_session
from aorch.server.fast_path import json_response
from aorch.server.pagination import Page, page_of, page_response, read_page
from aorch.server.request_body import read_body
from aorch.server.request_context import CONTEXT, services_of
from aorch.server.request_parsing import parse_body, parse_query
from aorch.server.route import Route
from aorch.server.schemas.memory import CompressAnswer, CompressBody, MemoryQuery, SessionMemory

BLOCKS_AT_ONCE = 16
"""Number of blocks to read together. A block can have a quarter of a megabyte."""


async def compress(request: web.Request) -> web.Response:
    """Compress the new contracts of a session into a memory block.

    The block is in the ledger when this returns; `compressed` is 0 if nothing was new. Waits up to 30 s for another compression
    on the same ledger. `memory_block` is null for a token without the scope `read`.
    """
    body = parse_body(await read_body(request), CompressBody)
    options = CompressionOptions(body.via, body.intent, body.max_tokens)
    done = await compress_session(services_of(request).orchestrator.config, body.session_id, options)
    form = done.as_dict()
    return json_response(form if request[CONTEXT].caller.reads else {**form, "memory_block": None})


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


def _blocks(ledger: Path, session_id: str, after: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the blocks of a session after that position, oldest first. Raises NotFound."""
    while found := blocks_of_session(ledger, session_id, after=after, limit=BLOCKS_AT_ONCE):
        for row in found:
            yield str(row.last_position), row.as_dict()
        after = found[-1].last_position


ROUTES = (
    Route("POST", "/v1/compress", compress, "run", "memory", CompressAnswer, body=CompressBody),
    Route("GET", "/v1/sessions/{session_id}/memory", show_memory, "read", "memory", SessionMemory, query=MemoryQuery),
)

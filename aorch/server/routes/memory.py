"""The routes of memory: a session is compressed, and its blocks are read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from aorch.ledger.reader import Reader
from aorch.memory.compressor import How, compress_session
from aorch.memory.memory_queries import as_prompt, known
from aorch.server.json_response import json_answer
from aorch.server.pagination import Page, page_answer, page_of, read_page
from aorch.server.request_body import read_raw
from aorch.server.request_context import CALL, services_of
from aorch.server.request_parsing import parse, read_query
from aorch.server.schemas import memory

FEW = 16
"""Blocks that are read at a time: one may have a quarter of a megabyte."""


async def compress(request: web.Request) -> web.Response:
    """Make a memory block of what is new in a session; it is in the ledger once this is answered.

    Where nothing is new, `compressed` is 0. Waits up to 30 s for another compression on the same ledger. `memory_block` is
    null for a token without the scope `read`.
    """
    body = parse(await read_raw(request), memory.CompressBody)
    how = How(body.via, body.intent, body.max_tokens)
    done = await compress_session(services_of(request).orchestrator.config, body.session_id, how)
    form = done.as_dict()
    return json_answer(form if request[CALL].caller.reads else {**form, "memory_block": None})


async def show_memory(request: web.Request) -> web.Response:
    """The memory of a session: its blocks, a page at a time, or text to be put before a model."""
    query = read_query(request, memory.MemoryQuery)
    session_id = request.match_info["session_id"]
    if query.form == "prompt":
        return await services_of(request).readers.read(
            lambda reader: json_answer(
                as_prompt(reader.path, session_id, known(reader.path, session_id), query.max_tokens)
            )
        )

    def read(reader: Reader) -> Page:
        return page_of(_blocks(reader.path, session_id, int(query.cursor or 0)), query.limit)

    page = await read_page(request, read)
    return page_answer(request, "blocks", page, session_id=session_id)


def _blocks(ledger: Path, session_id: str, after: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The blocks of a session after that position, oldest first, read a few at a time. Raises NotFound."""
    while found := known(ledger, session_id, after=after, limit=FEW):
        for row in found:
            yield str(row.last_position), row.as_dict()
        after = found[-1].last_position

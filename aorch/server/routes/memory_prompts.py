"""Memory as text for a model: of several sessions, about a question, and what the newest block changes in it."""

from aiohttp import web

from aorch.memory.memory_queries import newest_changes_form
from aorch.memory.shared_prompts import about_prompt, sessions_prompt
from aorch.process.threads import in_thread
from aorch.server.fast_path import json_response
from aorch.server.request_body import read_body
from aorch.server.request_context import services_of
from aorch.server.request_parsing import parse_body, parse_query
from aorch.server.route import Route
from aorch.server.schemas.memory_prompts import BlockChanges, ChangesQuery, SharedPrompt, SharedPromptBody


async def shared_prompt(request: web.Request) -> web.Response:
    """Write a prompt about several sessions, within one limit.

    With `about`, it has the claims that are most relevant to that text, of these sessions or of all. Without it, it has the
    memory of these sessions, of which each gets an equal share of the tokens.
    """
    body = parse_body(await read_body(request), SharedPromptBody)
    ledger = services_of(request).orchestrator.config.ledger
    if body.about is None:
        found = await in_thread(sessions_prompt, ledger, body.sessions or (), body.max_tokens)
    else:
        found = await in_thread(about_prompt, ledger, body.about, body.sessions or None, body.max_tokens)
    return json_response({**found, "left_out": found.get("left_out", [])})


async def show_changes(request: web.Request) -> web.Response:
    """Show what the newest memory block of a session changes in a prompt: claims that it adds, drops and rewords.

    With the ID of a block, that one is compared with the blocks before it. `block_id` is null if the session has no blocks.
    """
    query = parse_query(request, ChangesQuery)
    ledger = services_of(request).orchestrator.config.ledger
    return json_response(await in_thread(newest_changes_form, ledger, query.reference, query.max_tokens))


ROUTES = (
    Route("POST", "/v1/memory/prompt", shared_prompt, "read", "memory", SharedPrompt, body=SharedPromptBody),
    Route("GET", "/v1/memory/changes", show_changes, "read", "memory", BlockChanges, query=ChangesQuery),
)

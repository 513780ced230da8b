"""The queue."""

import asyncio

from aiohttp import web

from aorch.ledger.queue_view import queue_view
from aorch.server.fast_path import json_response
from aorch.server.request_context import services_of
from aorch.server.request_parsing import parse_query
from aorch.server.route import Route
from aorch.server.schemas.queue import QueueForm, QueueQuery


async def show_queue(request: web.Request) -> web.Response:
    """Show the queue: how many tasks wait and run, since when, which processes run them, and the tasks in order.

    Running tasks come first, then queued ones in the order in which they start, then scheduled ones by their start time. Tasks
    that were not queued (`POST /v1/orchestrate`) are not part of it.
    """
    query = parse_query(request, QueueQuery)
    ledger = services_of(request).orchestrator.config.ledger
    return json_response(await asyncio.to_thread(queue_view, ledger, query.limit))


ROUTES = (Route("GET", "/v1/queue", show_queue, "read", "tasks", QueueForm, query=QueueQuery),)

"""The stream of new contracts."""

import contextlib

from aiohttp import web

from aorch.errors import AorchError
from aorch.server.http_protocol import end_with_client
from aorch.server.request_context import CONTEXT, services_of
from aorch.server.request_parsing import parse_query
from aorch.server.route import Route
from aorch.server.schemas.events import EventsQuery
from aorch.server.sse import FOLLOWER, HEADERS


async def events(request: web.Request) -> web.StreamResponse:
    """Stream contracts as they are written, as server-sent events.

    `id` is the contract's position in the ledger, `event` its type, `data` its JSON. The stream starts with the next contract,
    or after the event in `Last-Event-ID`. After 8 MiB of earlier contracts it ends with the event `next`; to continue,
    reconnect with its `id`. Browsers do this automatically. A stream of all sessions also has an event `agent`, without an
    `id`, when the state of a remote agent changes.
    """
    last = request.headers.get("Last-Event-ID")  # sent by browsers that reconnect (WHATWG HTML, section 9.2.4)
    query = parse_query(request, EventsQuery, **({"last_event_id": last} if last else {}))
    after = None if query.last_event_id is None else int(query.last_event_id)
    response = web.StreamResponse(headers={**HEADERS, "X-Request-ID": request[CONTEXT].request_id})
    with contextlib.suppress(ConnectionResetError):
        async with request.app[FOLLOWER].stream(query.session_id, after) as stream:
            with services_of(request).long_requests.hold(request, stream.woken.set):
                await response.prepare(request)
                end_with_client(request)
                with contextlib.suppress(AorchError):  # the response has started, so no error can be sent
                    await stream.send(request, response)
    return response


ROUTES = (Route("GET", "/v1/events", events, "read", "contracts", None, query=EventsQuery, counted=False),)

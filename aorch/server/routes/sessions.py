"""Sessions: the names under which callers group their tasks."""

from aiohttp import web

from aorch.ledger.reader import Reader
from aorch.server.pagination import Page, page_of, page_response, read_page
from aorch.server.request_parsing import parse_query
from aorch.server.route import Route
from aorch.server.schemas.sessions import SessionPage, SessionQuery


async def list_sessions(request: web.Request) -> web.Response:
    """List sessions with their contract counts and times, sorted by ID, in pages."""
    query = parse_query(request, SessionQuery)

    def read(reader: Reader) -> Page:
        found = reader.sessions(after=query.cursor, limit=query.limit + 1)
        return page_of(((session["session_id"], session) for session in found), query.limit)

    return page_response(request, "sessions", await read_page(request, read))


ROUTES = (Route("GET", "/v1/sessions", list_sessions, "read", "contracts", SessionPage, query=SessionQuery),)

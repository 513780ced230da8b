"""Sessions: the names under which callers group their tasks."""

from typing import Any

from aiohttp import web

from aorch.errors import ParametersInvalid
from aorch.ledger.database import ALL_ROWS
from aorch.ledger.reader import Reader
from aorch.ledger.session_list import (
    knows_session,
    last_position,
    session_form,
    session_not_found,
    sessions_by_activity,
)
from aorch.ledger.tree import session_trees
from aorch.server.fast_path import json_response
from aorch.server.pagination import Page, page_of, page_response, read_page
from aorch.server.request_context import services_of
from aorch.server.request_parsing import parse_query
from aorch.server.route import Route
from aorch.server.schemas.sessions import SessionDetail, SessionPage, SessionQuery, SessionTree, TreeQuery


async def list_sessions(request: web.Request) -> web.Response:
    """List sessions with their counts and times, in pages.

    They are sorted by ID. With `order=last_at`, the session with the newest contract comes first.
    """
    query = parse_query(request, SessionQuery)
    read = _by_activity if query.order == "last_at" else _by_id
    return page_response(request, "sessions", await read_page(request, lambda reader: read(reader, query)))


async def show_session(request: web.Request) -> web.Response:
    """Show a session with its counts and times."""
    session_id = request.match_info["session_id"]
    form, position = await services_of(request).readers.read(lambda reader: _session(reader, session_id))
    return json_response({**form, "cursor": str(position)})


async def show_session_tree(request: web.Request) -> web.Response:
    """Show the delegation trees of a session, in pages.

    Each REQUEST has those that its agent delegated as `children`, with times and durations.
    """
    query = parse_query(request, TreeQuery)
    session_id = request.match_info["session_id"]
    page = await read_page(request, lambda reader: _trees(reader, session_id, query))
    return page_response(request, "roots", page, session_id=session_id)


def _session(reader: Reader, session_id: str) -> tuple[dict[str, Any], int]:
    return session_form(reader.select, session_id), last_position(reader.select, session_id)


def _by_id(reader: Reader, query: SessionQuery) -> Page:
    found = reader.sessions(after=query.cursor, limit=query.limit + 1)
    return page_of(((session["session_id"], session) for session in found), query.limit)


def _by_activity(reader: Reader, query: SessionQuery) -> Page:
    if query.cursor is not None and not (
        query.cursor.isascii() and query.cursor.isdecimal() and len(query.cursor) < 19
    ):
        raise ParametersInvalid("query: cursor must be a number from an earlier response with order=last_at")
    before = int(query.cursor) if query.cursor else None
    found = sessions_by_activity(reader.select, before=before, limit=query.limit + 1)
    return page_of(((str(position), session) for position, session in found), query.limit)


def _trees(reader: Reader, session_id: str, query: TreeQuery) -> Page:
    newest_first = query.order == "desc"
    cursor = int(query.cursor) if query.cursor else None
    found = session_trees(
        reader.select,
        session_id,
        after=0 if newest_first or cursor is None else cursor,
        before=cursor if newest_first and cursor is not None else ALL_ROWS,
        limit=query.limit + 1,
        newest_first=newest_first,
        most=query.children,
    )
    if not found and not knows_session(reader.select, session_id):
        raise session_not_found(session_id)
    return page_of(((str(position), root.as_dict()) for position, root in found), query.limit)


ROUTES = (
    Route("GET", "/v1/sessions", list_sessions, "read", "contracts", SessionPage, query=SessionQuery),
    Route("GET", "/v1/sessions/{session_id}", show_session, "read", "contracts", SessionDetail),
    Route(
        "GET", "/v1/sessions/{session_id}/tree", show_session_tree, "read", "contracts", SessionTree, query=TreeQuery
    ),
)

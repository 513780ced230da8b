"""Schemas of sessions."""

from pydantic import Field

from aorch.server.schemas.fields import Body, Limit, Moment, Next, Query


class SessionForm(Body):
    """A session with its number of contracts and the times of the first and last one."""

    session_id: str
    contracts: int
    first_at: Moment
    last_at: Moment


class SessionPage(Body):
    """A page of sessions, sorted by ID."""

    sessions: list[SessionForm]
    next: Next


class SessionQuery(Query):
    """The position and size of a page of sessions."""

    cursor: str | None = Field(None, description="`next` of the previous page.")
    limit: Limit = 100

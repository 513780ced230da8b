"""The query of the event stream."""

from pydantic import Field

from aorch.server.schemas.fields import POSITION, Query


class EventsQuery(Query):
    """Which events to stream."""

    session_id: str | None = Field(None, description="Events of this session only. Default: of all sessions.")
    last_event_id: str | None = Field(
        None,
        pattern=POSITION,
        description="Start after this event; the header `Last-Event-ID` takes precedence. Default: start with the next event.",
    )

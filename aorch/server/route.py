"""A route: its handler, its requirements, and its description in the OpenAPI document."""

from dataclasses import dataclass

from aiohttp.typedefs import Handler
from pydantic import BaseModel

from aorch.server.authentication import PUBLIC


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API. `response` is None for a stream; `success` is the HTTP status of its response,
    and `again` the one if it has happened before.

    Requests that are not `counted` (health, long polls, streams) also run while `max_concurrent` others do.
    """

    method: str
    path: str
    handler: Handler
    scope: str
    tag: str
    response: type[BaseModel] | None
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    success: int = 200
    again: int | None = None
    counted: bool = True

    @property
    def limited(self) -> bool:
        """Whether the rate limit applies: to all routes but health."""
        return self.counted or self.scope != PUBLIC

    @property
    def name(self) -> str:
        """The operation id."""
        return self.handler.__name__

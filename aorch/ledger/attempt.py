"""An attempt: one call of an agent for a REQUEST that needed several."""

from typing import Any, NamedTuple


class Attempt(NamedTuple):
    """A row of `attempts`; times are RFC 3339. `ended_at` is None while the agent works; `code` and `error` are those of a
    failure.
    """

    request_id: str
    number: int
    agent_id: str
    started_at: str
    ended_at: str | None = None
    code: str | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, in the list of a REQUEST's attempts."""
        form = self._asdict()
        del form["request_id"]
        return form

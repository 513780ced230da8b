"""Server-sent events in the form that aorch sends: a field per line, and a blank line after each event."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.client.problem_errors import UnreadableAnswer
from aorch.errors import InvalidJSON


class ServerEvent(NamedTuple):
    """A server-sent event. `id` is empty if it has none."""

    name: str
    data: str
    id: str

    def json(self) -> Any:
        """The value of `data`. Raises UnreadableAnswer if it is not JSON."""
        try:
            return jsonio.decode(self.data)
        except InvalidJSON as error:
            raise UnreadableAnswer(
                f"the server sent an answer that is {error}",
                "Check the URL: does a proxy in front of it change answers?",
            ) from error


async def events_in(chunks: AsyncIterable[bytes]) -> AsyncIterator[ServerEvent]:
    """The events in the bytes of a stream. One that is cut off is left out."""
    name, event_id = "message", ""
    data: list[str] = []
    async for line in _lines(chunks):
        if not line:
            if data:
                yield ServerEvent(name, "\n".join(data), event_id)
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            event_id = value


async def _lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[str]:
    """Lines end with LF or CRLF, and nothing else: JSON may contain the line separators of Unicode, at which `str` splits."""
    begun: list[bytes] = []
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield b"".join((*begun, end)).removesuffix(b"\r").decode("utf-8", "replace")
            begun.clear()
        begun.append(rest)

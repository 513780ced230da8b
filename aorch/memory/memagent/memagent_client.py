"""A client of MemAgent's HTTP API, adapted to its actual behaviour. No request is retried."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from aorch.errors import ServiceFailed, ServiceUnreachable

if TYPE_CHECKING:
    from aorch.net.http_client import HttpClient

MOST_NOTE_CHARS = 500
MOST_BYTES = 1024 * 1024
CONNECT_TIMEOUT_S, HEALTH_TIMEOUT_S, TIMEOUT_S = 2.0, 2.0, 60.0
"""Seconds. MemAgent compresses with a model for 1 to 5 s, during which all other requests wait."""

_PLAIN = re.compile(r"session_(?!x[a-z2-7]{52}$)(?:[0-9A-HJKMNP-TV-Z]{26}|(?![0-9a-hjkmnp-tv-z]{26}$)[a-z0-9_-]{1,64})")


def memagent_id(session_id: str) -> str:
    """The session ID in MemAgent: the same for the same session, and different for different sessions.

    `session_` and a ULID, or lower-case letters, digits, `_` and `-`, is used as it is. Any other ID becomes `session_x` and
    the SHA-256 of its UTF-8 in base 32 (lower case): MemAgent requires that prefix and uses the IDs as file names, so
    separators, dots and IDs that differ only in case must not reach it.
    """
    if _PLAIN.fullmatch(session_id):
        return session_id
    digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).digest()
    return f"session_x{base64.b32encode(digest).decode().rstrip('=').lower()}"


@dataclass(frozen=True)
class MemAgentResponse:
    """A response of MemAgent: the HTTP status, and the body if it is a JSON object."""

    status: int
    body: dict[str, Any]

    @property
    def reason(self) -> str:
        """The error message of the body, on one line of at most 200 characters."""
        detail = self.body.get("error") or self.body.get("detail") or self.body.get("message") or ""
        said = detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False)
        return " ".join("".join(c if c.isprintable() else " " for c in said).split())[:200]


class MemAgentClient:
    """A client of MemAgent at `url`, open inside an `async with` block. It expects session IDs from `memagent_id`.

    Every method raises ServiceUnreachable if there is no response within `timeout_s`, and ServiceFailed, with MemAgent's reason,
    for an unexpected response.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._client: HttpClient | None = None

    async def __aenter__(self) -> Self:
        from aorch.net.http_client import HttpClient  # noqa: PLC0415  aiohttp takes 190 ms

        self._client = HttpClient(self._timeout_s, CONNECT_TIMEOUT_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._client is not None
        await self._client.close()

    async def health(self, timeout_s: float = HEALTH_TIMEOUT_S) -> Literal["healthy", "busy", "absent"]:
        """`busy` if MemAgent accepts a connection but does not respond: its health check waits while it compresses (5.7 s
        measured).
        """
        from aiohttp import ConnectionTimeoutError  # noqa: PLC0415  likewise

        for path in ("/v1/health", "/health"):
            try:
                response = await self._send("GET", path, timeout_s)
            except ServiceUnreachable as error:
                cause = error.__cause__
                late = isinstance(cause, TimeoutError) and not isinstance(cause, ConnectionTimeoutError)
                return "busy" if late else "absent"
            if response.status == 200:
                return "healthy"
        return "absent"

    async def init(self, session: str, intent: str) -> str:
        """Create the session. Return the ID of its memory block, or an empty string if the session existed.

        MemAgent rejects an empty `intent`, so the session ID is sent instead.
        """
        response = await self._send(
            "POST", "/v1/session/init", session_id=session, intent=intent or session, created_by="aorch"
        )
        if response.status == 409:
            return ""
        return str(self._expected("init", response, 201, 200).body.get("memory_block_id") or "")

    async def note(self, session: str, text: str) -> bool:
        """Add a note of at most MOST_NOTE_CHARS to the session. Return False if MemAgent rejected it (422)."""
        response = await self._send("POST", f"/v1/session/{session}/note", text=text)
        return response.status != 422 and bool(self._expected("note", response, 200, 201))

    async def notes(self, session: str) -> list[str]:
        """The notes of the session; empty if it has no memory yet."""
        response = await self._send("GET", f"/v1/session/{session}/memory-block")
        if response.status == 404:
            return []
        listed = self._expected("memory-block", response, 200).body.get("user_notes")
        found = listed if isinstance(listed, list) else [listed]
        return [note if isinstance(note, str) else json.dumps(note, ensure_ascii=False) for note in found if note]

    async def compress(self, session: str) -> dict[str, Any]:
        """Let MemAgent compress the session, and return its response.

        The response may be about another session, or report that there was nothing to compress.
        """
        response = await self._send("POST", f"/v1/session/{session}/compress")
        return self._expected("compress", response, 200).body

    def _expected(self, call: str, response: MemAgentResponse, *statuses: int) -> MemAgentResponse:
        if response.status not in statuses:
            reason = f": {response.reason}" if response.reason else ""
            raise ServiceFailed(f"MemAgent at {self.url} answered {call} with HTTP {response.status}{reason}")
        return response

    async def _send(self, method: str, path: str, timeout_s: float | None = None, **body: str) -> MemAgentResponse:
        from aiohttp import ClientError  # noqa: PLC0415  likewise

        from aorch.net.http_client import read_limited  # noqa: PLC0415  likewise

        assert self._client is not None
        request = self._client.request(method, f"{self.url}{path}", json=body or None, timeout_s=timeout_s)
        try:
            async with request as answer:
                return MemAgentResponse(answer.status, _object(await read_limited(answer, MOST_BYTES) or b""))
        except TimeoutError as error:
            raise ServiceUnreachable(f"MemAgent at {self.url} gave no answer in time", _HINT) from error
        except (ClientError, OSError, ValueError) as error:
            raise ServiceUnreachable(
                f"MemAgent at {self.url} cannot be reached: {type(error).__name__}", _HINT
            ) from error


_HINT = "Check that it is running, and check MEMAGENT_URL."


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

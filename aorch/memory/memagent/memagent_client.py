"""MemAgent's HTTP API, as it really behaves: what it answers at each call, told apart, and nothing tried twice unasked."""

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
"""Seconds. A compression waits on a model for 1 to 5 s and lets everybody else wait as long."""

_PLAIN = re.compile(r"session_(?!x[a-z2-7]{52}$)(?:[0-9A-HJKMNP-TV-Z]{26}|(?![0-9a-hjkmnp-tv-z]{26}$)[a-z0-9_-]{1,64})")


def memagent_id(session_id: str) -> str:
    """The id under which MemAgent knows a session: the same for the same session, and another for every other.

    `session_` and a ULID, or lower-case letters, digits, `_` and `-`, stay as they are. Everything else becomes `session_x`
    and the SHA-256 of its UTF-8 in base 32 (lower case): MemAgent wants that prefix, and makes files of ids, so that
    separators, dots and ids that differ only in case must not reach it.
    """
    if _PLAIN.fullmatch(session_id):
        return session_id
    digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).digest()
    return f"session_x{base64.b32encode(digest).decode().rstrip('=').lower()}"


@dataclass(frozen=True)
class MemAgentResponse:
    """An answer of MemAgent's: its HTTP status, and its body where that is a JSON object."""

    status: int
    body: dict[str, Any]

    @property
    def reason(self) -> str:
        """What it says went wrong, on one line, cut to 200 characters."""
        detail = self.body.get("error") or self.body.get("detail") or self.body.get("message") or ""
        said = detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False)
        return " ".join("".join(c if c.isprintable() else " " for c in said).split())[:200]


class MemAgentClient:
    """A MemAgent at `url`. Session ids are its own (`memagent_id`). Every call raises ServiceUnreachable where no answer
    comes within `timeout_s`; where it says anything else than what is expected, ServiceFailed, with its reason.
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
        """`busy` where it takes a connection and is silent: while it compresses, its health waits, 5.7 s as measured."""
        from aiohttp import ConnectionTimeoutError  # noqa: PLC0415  likewise

        for path in ("/v1/health", "/health"):
            try:
                said = await self._send("GET", path, timeout_s)
            except ServiceUnreachable as error:
                cause = error.__cause__
                late = isinstance(cause, TimeoutError) and not isinstance(cause, ConnectionTimeoutError)
                return "busy" if late else "absent"
            if said.status == 200:
                return "healthy"
        return "absent"

    async def init(self, session: str, intent: str) -> str:
        """Make the session known, or find it known; the id of its memory block, empty where it was known.

        An empty `intent` would be refused, so the session's id stands in.
        """
        said = await self._send(
            "POST", "/v1/session/init", session_id=session, intent=intent or session, created_by="aorch"
        )
        if said.status == 409:
            return ""
        return str(self._expected("init", said, 201, 200).body.get("memory_block_id") or "")

    async def note(self, session: str, text: str) -> bool:
        """Put a note of at most MOST_NOTE_CHARS into the session's memory; False where it was refused (422)."""
        said = await self._send("POST", f"/v1/session/{session}/note", text=text)
        return said.status != 422 and bool(self._expected("note", said, 200, 201))

    async def notes(self, session: str) -> list[str]:
        """The notes that the session's memory holds by now; none where there is no memory yet."""
        said = await self._send("GET", f"/v1/session/{session}/memory-block")
        if said.status == 404:
            return []
        listed = self._expected("memory-block", said, 200).body.get("user_notes")
        found = listed if isinstance(listed, list) else [listed]
        return [note if isinstance(note, str) else json.dumps(note, ensure_ascii=False) for note in found if note]

    async def compress(self, session: str) -> dict[str, Any]:
        """Have it compress; its whole answer, which may be about a session that is not ours, or say that there was nothing."""
        said = await self._send("POST", f"/v1/session/{session}/compress")
        return self._expected("compress", said, 200).body

    def _expected(self, call: str, said: MemAgentResponse, *statuses: int) -> MemAgentResponse:
        if said.status not in statuses:
            reason = f": {said.reason}" if said.reason else ""
            raise ServiceFailed(f"MemAgent at {self.url} answered {call} with HTTP {said.status}{reason}")
        return said

    async def _send(self, method: str, path: str, timeout_s: float | None = None, **body: str) -> MemAgentResponse:
        from aiohttp import ClientError  # noqa: PLC0415  likewise

        assert self._client is not None
        request = self._client.request(method, f"{self.url}{path}", json=body or None, timeout_s=timeout_s)
        try:
            async with request as answer:
                return MemAgentResponse(answer.status, _object(await _whole(answer.content)))
        except TimeoutError as error:
            raise ServiceUnreachable(f"MemAgent at {self.url} gave no answer in time", _HINT) from error
        except (ClientError, OSError, ValueError) as error:
            raise ServiceUnreachable(
                f"MemAgent at {self.url} cannot be reached: {type(error).__name__}", _HINT
            ) from error


_HINT = "Is it running, and is MEMAGENT_URL right?"


async def _whole(content: Any) -> bytes:
    """MOST_BYTES of a body at most."""
    whole = bytearray()
    async for part in content.iter_chunked(65536):
        whole += part
        if len(whole) >= MOST_BYTES:
            break
    return bytes(whole[:MOST_BYTES])


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

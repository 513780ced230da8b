"""Trace's client. One request at a time is the caller's to see to (`core/delivery.py`).

What Trace is like (measured; its own page is the wrapper's README): one request in flight, globally, reads included; after
two at once, replies belong to the request before for good, while everything that was sent is stored; health says healthy
whatever happens, so it is never asked; a session whose events pass 64 KiB reads back as empty, and from about 300 KiB on the
read itself shifts all later answers; a session id with `%2F` in the path gets a 404. So only sessions that are known to be
small may be read, and the list of sessions, whose size nobody knows, is never read. A connection serves one request: on one
that is kept, a POST may meet Trace as it closes it, and nobody could say whether that arrived.
"""

import asyncio
import re
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from aorch import jsonio
from aorch.errors import InvalidJSON, ServiceFailed, ServiceRefused, ServiceUnreachable
from aorch.net.http_client import HttpClient

TIMEOUT_S = 35.0
"""How long an answer may take: the wrapper itself gives its backend 30 s, and answers 500 then."""
CONNECT_TIMEOUT_S = 5.0
LARGEST_ANSWER = 16 * 1024 * 1024
FOR_GOOD = frozenset({400, 404, 405, 409, 410, 413, 414, 415, 422, 431})
"""What says that the same request will never be taken."""
NOT_TAKEN = frozenset({301, 302, 303, 307, 308, 401, 403, 407, 429, 503})
"""What says that nothing was stored, now. 503 is Trace's own word for a backend that is missing."""


_WHERE = "Say where it is by TRACE_URL or [trace] url in aorch.toml; `off` is an answer too."


class AnswersMixedUp(ServiceFailed):
    """Trace answers one request with the answer to another."""


class Trace:
    """Trace at `url`. `in_flight` hears True before each request, and False after it unless its answer is not awaited.

    Every method raises ServiceUnreachable where surely nothing was stored, ServiceFailed where it may have been,
    ServiceRefused where it never will be, and AnswersMixedUp.
    """

    def __init__(self, url: str, in_flight: Callable[[bool], None], timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        self._in_flight = in_flight
        self._client = HttpClient(
            timeout_s, CONNECT_TIMEOUT_S, headers={"Accept": "application/json"}, keep_connections=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def add_event(self, session_id: str, event_type: str, data: dict[str, Any]) -> None:
        """Store an event; answered 200, and about this event, when it returns."""
        answer = await self._ask("POST", _events(session_id), {"event_type": event_type, "data": data})
        if answer.get("event_type") != event_type:
            raise self._mixed_up(f"a {event_type} was answered as {str(answer)[:80]}")

    async def add_node(self, node: dict[str, Any]) -> None:
        """Store a provenance node: `session_id`, `node_id`, `parent_id`, `modifiers`, `metadata`."""
        answer = await self._ask("POST", "/v1/provenance/node", node)
        if answer.get("status") != "ok" or "event_type" in answer:
            raise self._mixed_up(f"a provenance node was answered as {str(answer)[:80]}")

    async def events(self, session_id: str) -> list[dict[str, Any]]:
        """The events of a session: `event_id`, `event_type`, `timestamp`, `data`. An empty list proves nothing."""
        return await self._list(_events(session_id), "events", session_id)

    async def nodes(self, session_id: str) -> list[dict[str, Any]]:
        """The provenance nodes of a session. An empty list proves nothing."""
        return await self._list(f"/v1/sessions/{_quoted(session_id)}/provenance", "nodes", session_id)

    async def check(self, known: str | None) -> None:
        """Check that this is Trace and that it gives each answer to its own request. Raises AnswersMixedUp if it does not.

        Reads `known`, a small session that has events, then twice a session that does not exist: answers that lag by one or
        two come out there. Whether Trace shifts whole answers or only their content (it writes `session_id` into the answer
        from the question) makes no difference. Without `known` only whole answers that lag are found.
        """
        nobody = f"aorch-check-{secrets.token_hex(8)}"
        try:
            if known is not None:
                await self.events(known)
            for _ in range(2):
                if found := await self.events(nobody):
                    raise self._mixed_up(f"a session that does not exist was answered with {str(found)[:80]}")
        except ServiceRefused as refusal:
            raise ServiceUnreachable(f"what answers at {self.url} is not Trace: {refusal}", _WHERE) from refusal

    async def _list(self, path: str, name: str, session_id: str) -> list[dict[str, Any]]:
        answer = await self._ask("GET", path)
        found = answer.get(name)
        if answer.get("session_id") != session_id or not isinstance(found, list):
            raise self._mixed_up(f"{name} of session {session_id!r} were answered as {str(answer)[:80]}")
        return [each for each in found if isinstance(each, dict)]

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        self._in_flight(True)
        try:
            status, text = await self._exchange(method, path, body)
        except asyncio.CancelledError:
            raise  # nobody awaits the answer, but Trace may be at work on it
        except BaseException:
            self._in_flight(False)
            raise
        self._in_flight(False)
        if status != 200:
            raise self._refusal(method, path, status, text)
        try:
            answer = jsonio.decode(text)
        except InvalidJSON as error:
            raise ServiceFailed(f"what answers at {self.url} is not Trace: {error}") from error
        return answer if isinstance(answer, dict) else {}

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        data = None if body is None else jsonio.encode_bytes(body)
        headers = None if body is None else {"Content-Type": "application/json"}
        url = URL(self.url + path, encoded=True)
        try:
            async with self._client.request(method, url, data=data, headers=headers) as response:
                text = bytearray()
                async for chunk in response.content.iter_any():
                    text += chunk
                    if len(text) > LARGEST_ANSWER:
                        raise ServiceFailed(f"Trace at {self.url} answers more than {LARGEST_ANSWER:,} bytes")
                return response.status, bytes(text)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ServiceUnreachable(f"nothing listens at {self.url} ({_reason(error)})", _WHERE) from error
        except TimeoutError as error:
            raise ServiceFailed(f"Trace at {self.url} took a request and gave no answer", "Start it again.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceFailed(f"Trace at {self.url} broke off a request ({_reason(error)})") from error

    def _refusal(self, method: str, path: str, status: int, text: bytes) -> ServiceUnreachable:
        route = re.sub("/sessions/[^/]+/", "/sessions/…/", path)  # the session is named beside a parked delivery
        said = " ".join(f"{method} {route}: {status} {text[:200].decode('utf-8', 'replace')}".split())
        if status in FOR_GOOD:
            return ServiceRefused(f"Trace refused {said}")
        if status in NOT_TAKEN:
            return ServiceUnreachable(f"Trace at {self.url} does not take anything now: {said}")
        return ServiceFailed(f"Trace at {self.url} failed: {said}")

    def _mixed_up(self, how: str) -> AnswersMixedUp:
        return AnswersMixedUp(
            f"Trace at {self.url} answers other requests than were asked, or is not Trace: {how}",
            "Start Trace again: two requests at once do this to it, for good.",
        )


def _events(session_id: str) -> str:
    return f"/v1/sessions/{_quoted(session_id)}/events"


def _quoted(session_id: str) -> str:
    return quote(session_id, safe="")


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()

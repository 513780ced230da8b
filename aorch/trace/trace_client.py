"""A client of Trace's HTTP API. The caller must send one request at a time (lease.py).

Trace behaves as follows (measured):

- It handles one request at a time, also for reads. After two at once, each answer belongs to an earlier request until Trace
  is restarted, although everything that was sent is stored.
- Its health check reports healthy in every case, so aorch never calls it.
- A session whose events pass 64 KiB reads back as empty. Reading one of 300 KiB or more shifts all later answers.
- A session ID with `%2F` in the path gets a 404.

So only sessions that are known to be small are read, and the list of sessions, whose size is not known, is never read. Each
request uses a new connection: on a reused one, a POST could be lost unnoticed while Trace closes it.
"""

import asyncio
import os
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
from aorch.net.http_client import HttpClient, read_limited

TIMEOUT_S = 35.0
"""Timeout of a request. Trace waits 30 s for its own backend and then answers 500."""
CONNECT_TIMEOUT_S = 5.0
LARGEST_ANSWER = 16 * 1024 * 1024
FOR_GOOD = frozenset({400, 404, 405, 409, 410, 413, 414, 415, 422, 431})
"""Statuses of a request that Trace will never accept."""
NOT_TAKEN = frozenset({301, 302, 303, 307, 308, 401, 403, 407, 429, 503})
"""Statuses of requests that were not stored but may be accepted later. Trace answers 503 if its backend is missing."""

_HINT = "Set TRACE_URL, or url in [trace] of aorch.toml; use `off` to disable Trace."


class AnswersMixedUp(ServiceFailed):
    """Trace answered a request with the answer to another one."""


class TraceClient:
    """A client of Trace at `url`, open inside an `async with` block.

    It calls `on_request(True)` before each request and `on_request(False)` after it, unless the request was cancelled.

    Every method raises ServiceUnreachable if Trace has certainly stored nothing, ServiceFailed if it may have,
    ServiceRefused if it never will, and AnswersMixedUp.
    """

    def __init__(self, url: str, on_request: Callable[[bool], None], timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        self._on_request = on_request
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
        """Store an event. When this returns, Trace has answered 200, about this event."""
        answer = await self._request("POST", _events(session_id), {"event_type": event_type, "data": data})
        if answer.get("event_type") != event_type:
            raise self._mixed_up(f"the answer to a {event_type} is {str(answer)[:80]}")

    async def add_node(self, node: dict[str, Any]) -> None:
        """Store a provenance node: `session_id`, `node_id`, `parent_id`, `modifiers`, `metadata`."""
        answer = await self._request("POST", "/v1/provenance/node", node)
        if answer.get("status") != "ok" or "event_type" in answer:
            raise self._mixed_up(f"the answer to a provenance node is {str(answer)[:80]}")

    async def events(self, session_id: str) -> list[dict[str, Any]]:
        """The events of a session: `event_id`, `event_type`, `timestamp`, `data`. It can be empty although events exist."""
        return await self._list(_events(session_id), "events", session_id)

    async def nodes(self, session_id: str) -> list[dict[str, Any]]:
        """The provenance nodes of a session. It can be empty although nodes exist."""
        return await self._list(f"/v1/sessions/{_quoted(session_id)}/provenance", "nodes", session_id)

    async def check(self, known: str | None) -> None:
        """Check that this is Trace and that it gives each answer to its own request. Raises AnswersMixedUp if it does not.

        Reads `known`, a small session that has events, then twice a session that does not exist. If answers are late by one
        or two requests, a read of the missing session returns events. This detects both cases: Trace shifts whole answers,
        or only their content (with the `session_id` of the current request). Without `known`, only late whole answers are
        found.
        """
        missing = f"aorch-check-{secrets.token_hex(8)}"
        try:
            if known is not None:
                await self.events(known)
            for _ in range(2):
                if found := await self.events(missing):
                    raise self._mixed_up(f"it returned events of a session that does not exist: {str(found)[:80]}")
        except ServiceRefused as refusal:
            raise ServiceUnreachable(f"the server at {self.url} is not Trace: {refusal}", _HINT) from refusal

    async def _list(self, path: str, name: str, session_id: str) -> list[dict[str, Any]]:
        answer = await self._request("GET", path)
        found = answer.get(name)
        if answer.get("session_id") != session_id or not isinstance(found, list):
            raise self._mixed_up(f"the answer for the {name} of session {session_id!r} is {str(answer)[:80]}")
        return [each for each in found if isinstance(each, dict)]

    async def _request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        self._on_request(True)
        try:
            status, text = await self._send(method, path, body)
        except asyncio.CancelledError:
            raise  # Trace may still be working on the request
        except BaseException:
            self._on_request(False)
            raise
        self._on_request(False)
        if status != 200:
            raise self._refusal(method, path, status, text)
        try:
            answer = jsonio.decode(text)
        except InvalidJSON as error:
            raise ServiceFailed(f"the server at {self.url} is not Trace: {error}") from error
        return answer if isinstance(answer, dict) else {}

    async def _send(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        data = None if body is None else jsonio.encode_bytes(body)
        headers = None if body is None else {"Content-Type": "application/json"}
        url = URL(self.url + path, encoded=True)
        try:
            async with self._client.request(method, url, data=data, headers=headers) as response:
                text = await read_limited(response, LARGEST_ANSWER)
                if text is None:
                    raise ServiceFailed(f"Trace at {self.url} sent a response of more than {LARGEST_ANSWER:,} bytes")
                return response.status, text
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ServiceUnreachable(f"nothing listens at {self.url} ({_reason(error)})", _HINT) from error
        except TimeoutError as error:
            raise ServiceFailed(f"Trace at {self.url} gave no answer to a request", "Restart Trace.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceFailed(
                f"Trace at {self.url} broke the connection during a request ({_reason(error)})"
            ) from error

    def _refusal(self, method: str, path: str, status: int, text: bytes) -> ServiceUnreachable:
        route = re.sub("/sessions/[^/]+/", "/sessions/…/", path)  # the parked delivery contains the session ID
        reply = " ".join(f"{method} {route}: {status} {text[:200].decode('utf-8', 'replace')}".split())
        if status in FOR_GOOD:
            return ServiceRefused(f"Trace refused {reply}")
        if status in NOT_TAKEN:
            return ServiceUnreachable(f"Trace at {self.url} accepts no requests now: {reply}")
        return ServiceFailed(f"Trace at {self.url} failed: {reply}")

    def _mixed_up(self, evidence: str) -> AnswersMixedUp:
        return AnswersMixedUp(
            f"Trace at {self.url} gives the answers to other requests, or is not Trace: {evidence}",
            "Restart Trace. It mixes up all answers after it has received two requests at once.",
        )


def _events(session_id: str) -> str:
    return f"/v1/sessions/{_quoted(session_id)}/events"


def _quoted(session_id: str) -> str:
    return quote(session_id, safe="")


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and (error.errno or 0) > 0:  # asyncio's own text repeats the address
        return os.strerror(error.errno or 0).lower()
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()

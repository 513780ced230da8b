"""One request to an agent that is an HTTP endpoint: its answer, its progress, and every way in which it can fail.

docs/agents.md describes the protocol.
"""

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, NoReturn, TypeAlias

import aiohttp
from yarl import URL

from aorch import jsonio
from aorch.agents.agent_hints import CONFIGURED, AgentHints
from aorch.agents.endpoint_documents import Document, reason_in, shown
from aorch.agents.signatures import Signatures
from aorch.agents.task_progress import report_progress
from aorch.errors import (
    AgentBusy,
    AgentFailed,
    AgentLost,
    AgentOutputTooLarge,
    AgentUnreachable,
    InvalidJSON,
)
from aorch.net.fast_post import FastExchange
from aorch.net.http_client import HttpClient
from aorch.net.outbound import refusal_in
from aorch.net.retry_after import retry_after_s

NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
"""The media types of an answer with progress: one JSON document per line; the last one is the result."""
ACCEPTED = "application/json, application/x-ndjson"
READ = 64 * 1024
"""Maximum number of bytes to read of an error response."""
Response: TypeAlias = aiohttp.ClientResponse | FastExchange


class Endpoint(NamedTuple):
    """An agent's address, `url`, without a slash at its end; `limit` is the maximum size of an answer in bytes.

    `secret` is its token, which no error shows, even if the agent sends it back. `hints` are those of its errors.
    """

    agent_id: str
    url: str
    limit: int
    secret: str = ""
    hints: AgentHints = CONFIGURED

    def headers(self) -> dict[str, str]:
        """The headers that each request has."""
        return {"Authorization": f"Bearer {self.secret}"} if self.secret else {}

    def masked(self, body: bytes) -> bytes:
        """`body` without the token."""
        return body.replace(self.secret.encode(), b"***") if self.secret else body


async def execute(
    client: HttpClient,
    endpoint: Endpoint,
    task: dict[str, Any],
    headers: Mapping[str, str],
    signatures: Signatures | None = None,
) -> dict[str, Any]:
    """Send `task` to `/execute` and return the endpoint's answer: a dict with `success`. Its progress is reported.
    `signatures` sign the request.

    Raises AgentUnreachable, AgentBusy, AgentLost, AgentOutputTooLarge, and AgentFailed for any other answer.
    """
    body, url = jsonio.encode_bytes(task), f"{endpoint.url}/execute"
    given = {"Content-Type": "application/json", "Accept": ACCEPTED, **endpoint.headers(), **headers}
    if signatures is not None:
        signatures.sign("POST", str(URL(url)), body, given)
    try:
        async with client.post(url, body, given) as response:
            if response.status // 100 != 2:
                raise _rejection(endpoint, url, response, endpoint.masked(await _start_of(response)))
            if response.content_type in NDJSON:
                return await _result_of_lines(endpoint, url, response)
            return _result(endpoint, url, response, await _whole(endpoint, url, response))
    except (aiohttp.ClientError, OSError) as error:
        _translate(endpoint, url, error)


async def get(client: HttpClient, endpoint: Endpoint, path: str) -> Document:
    """Read the document at `path`; any status is accepted. Raises AgentUnreachable, AgentLost and AgentOutputTooLarge."""
    url = f"{endpoint.url}{path}"
    try:
        async with client.request("GET", url, headers={"Accept": "application/json", **endpoint.headers()}) as response:
            body = endpoint.masked(await _whole(endpoint, url, response))
            try:
                content = jsonio.decode(body)
            except InvalidJSON:
                content = None
            return Document(response.status, content, shown(body))
    except (aiohttp.ClientError, OSError) as error:
        _translate(endpoint, url, error)


async def _whole(endpoint: Endpoint, url: str, response: Response) -> bytes:
    content = response.content
    if content.is_eof():  # most answers arrive whole, together with their headers
        whole = content.read_nowait()
        if len(whole) > endpoint.limit:
            raise _too_large(endpoint, url)
        return whole
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > endpoint.limit:
            raise _too_large(endpoint, url)
    return bytes(body)


async def _start_of(response: Response) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= READ:
            break
    return bytes(body[:READ])


async def _result_of_lines(endpoint: Endpoint, url: str, response: Response) -> dict[str, Any]:
    """The result among the lines of the answer; the others are progress. The limit is that of one line."""
    pending, parts = 0, list[bytes]()
    async for chunk in response.content.iter_any():
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0], parts = b"".join((*parts, lines[0])), []
        for line in lines:
            if (result := _line(endpoint, url, response, line)) is not None:
                return result
        parts.append(rest)
        pending = len(rest) if lines else pending + len(rest)
        if pending > endpoint.limit:
            raise _too_large(endpoint, url)
    if (result := _line(endpoint, url, response, b"".join(parts))) is not None:
        return result
    raise AgentFailed(f"{_named(endpoint, url)} ended its answer without a result", "Send the result as the last line.")


def _line(endpoint: Endpoint, url: str, response: Response, line: bytes) -> dict[str, Any] | None:
    """The result, if the line has it."""
    if not line.strip():
        return None
    if len(line) > endpoint.limit:
        raise _too_large(endpoint, url)
    try:
        document = jsonio.decode(line)
    except InvalidJSON:
        document = None
    if isinstance(document, dict) and "success" not in document and "progress" in document:
        report_progress(document["progress"])
        return None
    return _result(endpoint, url, response, line)


def _result(endpoint: Endpoint, url: str, response: Response, body: bytes) -> dict[str, Any]:
    """`body` as the answer of an agent. Raises AgentFailed."""
    try:
        answer = jsonio.decode(body)
    except InvalidJSON as error:
        what = f"sent {shown(endpoint.masked(body))!r}, which is not JSON" if body.strip() else "sent an empty body"
        said = f"answered {response.status} and {what}"
        raise AgentFailed(f"{_named(endpoint, url)} {said}", _EXPECTED) from error
    if isinstance(answer, dict) and isinstance(answer.get("success"), bool):
        return answer
    raise AgentFailed(
        f"{_named(endpoint, url)} answered with {shown(endpoint.masked(body))!r}, which has no `success`", _EXPECTED
    )


_EXPECTED = 'Expected {"success": true, "data": …} or {"success": false, "error": "…"}.'


def _rejection(endpoint: Endpoint, url: str, response: Response, body: bytes) -> AgentFailed:
    """The error for an answer whose status is not 2xx."""
    try:
        said = reason_in(jsonio.decode(body), "error", "detail", "reason", "message")
    except InvalidJSON:
        said = ""
    status, said = response.status, said[:READ] or shown(body)
    message = f"{_named(endpoint, url)} answered {status}{f': {said}' if said else f' ({_phrase(status)})'}"
    if status in (429, 503):
        after = response.headers.get("Retry-After")
        return AgentBusy(message, retry_after_s=None if after is None else retry_after_s(after))
    if status in (502, 504):
        return AgentLost(message, "The task may have been executed.")
    if status in (401, 403):
        return AgentFailed(message, endpoint.hints.token, retry_safe=True)
    if status // 100 == 3 and (location := response.headers.get("Location")):
        where = endpoint.masked(_absolute(url, location).encode("utf-8", "surrogateescape"))
        return AgentFailed(
            f"{message}; redirects are not followed",
            f"Set {endpoint.hints.address} to the new address: {shown(where).removesuffix('/execute')}",
        )
    if status // 100 == 3:
        return AgentFailed(message, f"An agent answers with 200: check {endpoint.hints.address}.")
    return AgentFailed(message)


def _absolute(url: str, location: str) -> str:
    """The address that a redirect names; `location` may be relative to `url`."""
    try:
        return str(URL(url).join(URL(location)))
    except ValueError:
        return location


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "without a reason"


def _too_large(endpoint: Endpoint, url: str) -> AgentOutputTooLarge:
    return AgentOutputTooLarge(
        f"the answer of {_named(endpoint, url)} is longer than {endpoint.limit:,} bytes (max_output_bytes)",
        endpoint.hints.length,
    )


def _named(endpoint: Endpoint, url: str) -> str:
    return f"{endpoint.agent_id} ({url})"


def _translate(endpoint: Endpoint, url: str, error: Exception) -> NoReturn:
    """Raise the agent's error for one of the client."""
    who = _named(endpoint, url)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            raise AgentUnreachable(f"{who} has an invalid TLS certificate: {reason}") from error
        case aiohttp.ClientConnectorSSLError():
            raise AgentUnreachable(f"{who}: TLS failed: {error.os_error}") from error
        case aiohttp.ClientConnectorDNSError():
            raise AgentUnreachable(f"{who}: the host was not found: {error.strerror or error.os_error}") from error
        case aiohttp.ClientConnectorError():
            is_refused = refusal_in(error.os_error) is not None
            code = 0 if is_refused else error.os_error.errno or 0
            reason = os.strerror(code).lower() if code > 0 else error.os_error.strerror or str(error.os_error)
            hint = "" if is_refused else f"Start it, or correct {endpoint.hints.address}."
            raise AgentUnreachable(f"{who} cannot be reached: {reason}", hint) from error
        case aiohttp.ConnectionTimeoutError():
            raise AgentUnreachable(f"{who} cannot be reached: no connection within the time limit") from error
        case aiohttp.InvalidURL():
            raise AgentUnreachable(f"{who}: the url is invalid") from error
        case aiohttp.ServerDisconnectedError():
            reason = "without an answer"
        case aiohttp.ClientPayloadError():
            reason = "in the middle of its answer"
        case aiohttp.ClientResponseError():
            raise AgentFailed(f"{who} sent an answer that is not HTTP: {shown(error.message.encode())}") from error
        case _:
            reason = f"({error})" if str(error) else f"({type(error).__name__})"
    raise AgentLost(
        f"the connection to {who} broke {reason}", "The task may have been executed, completely or in part."
    ) from error

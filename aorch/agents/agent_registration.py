"""The registration of an agent server at an `aorch serve`: kept alive by heartbeats, and ended when the server stops."""

import asyncio
import sys
from typing import Any
from urllib.parse import quote

import aiohttp

from aorch import jsonio
from aorch.agents.agent_runs import AgentRuns
from aorch.agents.base import AgentCapability
from aorch.agents.endpoint_documents import reason_in, shown
from aorch.backoff import Backoff
from aorch.config import environment
from aorch.errors import InvalidJSON, ServiceFailed, ServiceRefused, ServiceUnreachable, UsageError
from aorch.net.addresses import fault_of
from aorch.net.http_client import HttpClient, read_limited

TIMEOUT_S = 10.0
TTL_S = 30.0
"""How long the registration lasts without a heartbeat; one is sent three times as often."""
_AGAIN = Backoff(1.0, 30.0, (0.8, 1.2))
_MOST_BYTES = 64 * 1024


class Registration:
    """Registers the agent of `runs` at the server `url`. `token_env` names the variable with the token; `endpoint` is the
    address to register (default: that of the agent server), and `credential` the name of the entry of `[credentials]` in the
    server's aorch.toml with the agent's token.
    """

    def __init__(
        self, url: str, token_env: str, runs: AgentRuns, endpoint: str = "", credential: str = "", ttl_s: float = TTL_S
    ) -> None:
        """Raises UsageError for an invalid URL, and if the variable is not set."""
        if fault := fault_of(url):
            raise UsageError(f"register is not the URL of an aorch server: {fault}", "Write http://HOST:PORT.")
        token = environment.secret(token_env) if token_env else ""
        if token_env and not token:
            raise UsageError(f"register_token_env names {token_env}, which is not set", "Put the token into it.")
        self._url, self._agent, self._endpoint = url.rstrip("/"), runs.agent, endpoint
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._document: dict[str, Any] = {
            "agent_id": self._agent.agent_id,
            "name": self._agent.name,
            "description": self._agent.description,
            "version": self._agent.version,
            "capabilities": [_form(each) for each in runs.capabilities.values()],
            "labels": dict(self._agent.labels),
            "ttl_s": ttl_s,
        }
        optional = {
            "credential": credential,
            "concurrency": self._agent.concurrency,
            "rate_per_min": self._agent.rate_per_min,
        }
        self._document |= {name: value for name, value in optional.items() if value}
        self._ttl_s = ttl_s
        self._is_registered = False

    async def keep(self, address: str) -> None:
        """Register, and send heartbeats; when cancelled, deregister. Registers again if the server has forgotten the agent.

        A server that cannot be reached at the end forgets the agent `ttl_s` (seconds) after its last heartbeat.
        """
        document = {**self._document, "endpoint": self._endpoint or address}
        self._client = HttpClient(TIMEOUT_S, headers=self._headers)
        failures, said = 0, ""
        try:
            while True:
                try:
                    await self._step(document)
                    failures, said = 0, ""
                except ServiceUnreachable as error:
                    failures += 1
                    if str(error) != said:
                        said = str(error)
                        _say(f"{said}; trying again")
                await asyncio.sleep(_AGAIN.pause_s(failures) if failures else self._ttl_s / 3)
        finally:
            if self._is_registered:
                try:
                    await self._send("DELETE", f"/v1/agents/{self._id()}", missing_ok=True)
                except ServiceUnreachable as error:
                    _say(str(error))
            await self._client.close()

    async def _step(self, document: dict[str, Any]) -> None:
        if self._is_registered and await self._send("POST", f"/v1/agents/{self._id()}/heartbeat", missing_ok=True):
            return
        await self._send("POST", "/v1/agents/register", document)
        self._is_registered = True
        _say(f"registered at {self._url}")

    def _id(self) -> str:
        return quote(self._agent.agent_id, safe="")

    async def _send(self, method: str, path: str, document: Any = None, *, missing_ok: bool = False) -> bool:
        """Send a request. Returns False if the server does not know the agent (404) and that is allowed.

        Raises ServiceRefused if the server rejects it, and ServiceUnreachable if there is no answer.
        """
        body = None if document is None else jsonio.encode_bytes(document)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with self._client.request(method, f"{self._url}{path}", headers=headers, data=body) as answer:
                body, status = await read_limited(answer, _MOST_BYTES) or b"", answer.status
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceUnreachable(f"{self._url} did not answer: {error or type(error).__name__}") from error
        if status == 404 and missing_ok:
            return False
        if status // 100 != 2:
            try:
                reason = reason_in(jsonio.decode(body), "detail", "error")
            except InvalidJSON:
                reason = shown(body)
            kind = ServiceFailed if status >= 500 else ServiceRefused
            raise kind(f"{method} {self._url}{path} answered {status}: {reason}")
        return True


def _form(capability: AgentCapability) -> dict[str, Any]:
    """The capability in a registration. What an older server does not know is left out if it has its default."""
    retry, default = capability.retry, AgentCapability(capability.name)
    form = capability.as_dict()
    if retry != default.retry:
        form["retry"] = {"attempts": min(retry.attempts, 10), "backoff_s": retry.backoff_s, "never": list(retry.never)}
    if capability.priority != default.priority:
        form["priority"] = capability.priority
    if capability.weight != default.weight:
        form["weight"] = capability.weight
    return form


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()

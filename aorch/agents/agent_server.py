"""An HTTP server for one agent, with the protocol of docs/writing-agents.md: `aorch.agents.serve`."""

import asyncio
import hmac
import os
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from aorch import jsonio
from aorch.agents.agent_registration import Registration
from aorch.agents.agent_runs import AgentRuns, Follower, Run
from aorch.agents.base import Agent, AgentState, AgentStatus
from aorch.agents.failure import described
from aorch.agents.function import as_agent
from aorch.agents.signatures import BadSignature, verifier_of
from aorch.config import environment
from aorch.errors import AgentBusy, AgentLost, AorchError, Forbidden, InvalidJSON, NotAuthorised, UsageError
from aorch.ids import new_id
from aorch.net.addresses import is_loopback
from aorch.process.signals import handle_signals

MAX_BODY_BYTES = 1024 * 1024
MAX_KEY = 255
"""Maximum length of an idempotency key."""
PROBE_S = 5.0
"""How long the agent's own `probe` may take."""
END_S = 2.0
"""How long cancelled tasks may take to end when the server stops."""
_KEYS = {"task_id": str, "session_id": str, "capability": str, "parameters": dict, "context": dict}


def serve(
    agent: Agent | Callable[..., Any],
    port: int = 0,
    host: str = "127.0.0.1",
    *,
    token_env: str = "",
    verify: Mapping[str, str] | None = None,
    register: str | None = None,
    register_token_env: str = "",
    endpoint: str = "",
    credential: str = "",
    max_body_bytes: int = MAX_BODY_BYTES,
    grace_s: float = 30.0,
    insecure: bool = False,
) -> None:
    """Serve `agent`, or a function with `@capability`, over HTTP until INT, TERM or HUP.

    It answers `POST /execute`, `GET /health` and `GET /capabilities`. `port` 0 is a free port; the address is printed on
    standard error. `token_env` names the environment variable with the bearer token that callers must send (except to
    `/health`). `verify` has the keys of `sign` of an agent in aorch.toml: each task must be signed with that key, for the address
    `endpoint` if a proxy is in front. A `host` other than this machine needs one of both, unless `insecure` is set. Bodies
    have at most `max_body_bytes`.

    `register` is the URL of an `aorch serve` at which the agent registers itself as `endpoint` (default: its own address), and
    deregisters at the end; `register_token_env` names the variable with the token for that. If the agent needs a token
    itself, `credential` is the name of the entry of `[credentials]` in that server's aorch.toml with it.

    At the end, running tasks have `grace_s` seconds to finish; a second signal cancels them at once. Raises UsageError if the
    agent or an argument is invalid, or the address is in use.
    """
    server = AgentServer(
        as_agent(agent), token_env=token_env, verify=verify, endpoint=endpoint, max_body_bytes=max_body_bytes
    )
    if not (token_env or verify or insecure or is_loopback(f"http://{f'[{host}]' if ':' in host else host}/")):
        raise UsageError(
            f"{host} is reachable from other machines, and neither a token nor a key is set",
            "Set token_env to the name of an environment variable with a token, set verify, or listen on 127.0.0.1.",
        )
    registration = Registration(register, register_token_env, server.runs, endpoint, credential) if register else None
    asyncio.run(_serve(server, host, port, grace_s, registration))


async def _serve(
    server: "AgentServer", host: str, port: int, grace_s: float, registration: Registration | None
) -> None:
    stop, hurry, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def act(_: int) -> None:
        loop.call_soon_threadsafe((hurry if stop.is_set() else stop).set)

    handle_signals(act, loop)
    url = await server.start(host, port)
    sys.stderr.write(f"{server.runs.agent.agent_id} listens on {url}\n")
    sys.stderr.flush()
    keeping = loop.create_task(registration.keep(url)) if registration else None
    await stop.wait()
    if keeping is not None:
        keeping.cancel()
        await asyncio.wait((keeping,))
    await server.stop(grace_s, hurry)


class AgentServer:
    """Serves one agent from `start` to `stop`."""

    def __init__(
        self,
        agent: Agent,
        *,
        token_env: str = "",
        verify: Mapping[str, str] | None = None,
        endpoint: str = "",
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        """Raises UsageError if `agent` is not an agent, `verify` is invalid, or a variable is not set."""
        self._verifier, self._endpoint = verifier_of(verify) if verify is not None else None, endpoint.rstrip("/")
        self.runs = AgentRuns(agent)
        self._token = environment.secret(token_env) if token_env else ""
        if token_env and not self._token:
            raise UsageError(f"token_env names {token_env}, which is not set", f"Put the token into {token_env}.")
        app = web.Application(client_max_size=max_body_bytes, middlewares=[self._guard])
        app.add_routes(
            [
                web.post("/execute", self._execute),
                web.get("/health", self._health),
                web.get("/capabilities", self._capabilities),
            ]
        )
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=END_S, handler_cancellation=True
        )
        self._is_open = False

    async def start(self, host: str, port: int) -> str:
        """Open the agent and listen; returns the address. Raises UsageError if it is in use."""
        await self.runs.agent.open()
        self._is_open = True
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, host, port)
            await site.start()
        except (OSError, OverflowError) as error:  # OverflowError: no such port
            await self.stop(0, asyncio.Event())
            code = getattr(error, "errno", None) or 0
            reason = (
                os.strerror(code).lower() if code > 0 else getattr(error, "strerror", error)
            )  # asyncio adds the address
            raise UsageError(f"cannot listen on {host}:{port}: {reason}", "Choose another port.") from error
        address = self._runner.addresses[0]
        return f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"

    async def stop(self, grace_s: float, hurry: asyncio.Event) -> None:
        """Reject new tasks, let running ones finish within `grace_s` seconds or until `hurry`, and close the agent."""
        await self.runs.finish(grace_s, hurry)
        await self._runner.cleanup()
        if self._is_open:
            await self.runs.agent.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Reject requests of web pages and those without the token, and describe each error."""
        try:
            if "Origin" in request.headers:
                raise Forbidden("requests of web pages are not accepted", "Send the request without Origin.")
            if self._token and request.path != "/health":
                given = request.headers.get("Authorization", "").removeprefix("Bearer ")
                if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode()):
                    raise NotAuthorised("the request has no valid token", "Send it as Authorization: Bearer TOKEN.")
            return await handler(request)
        except AorchError as error:
            return _problem(error)
        except web.HTTPException as error:
            return _problem(_HttpError(error))
        except ConnectionError:  # the client has closed the connection, so no client reads this
            return web.Response(status=499)

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/json":
            raise _HttpError(web.HTTPUnsupportedMediaType(reason="the body must be application/json"))
        body = await request.read()
        if self._verifier is not None:
            url = URL(f"{self._endpoint}/execute") if self._endpoint else request.url
            self._verifier.verify(request.method, str(url), body, request.headers)
        key = request.headers.get("Idempotency-Key", "").strip().strip('"')
        if len(key) > MAX_KEY:
            raise UsageError(f"the Idempotency-Key is longer than {MAX_KEY} characters")
        run = self.runs.start(body, _task_in(body), key or None)
        lines = run.follow()
        try:
            return await self._respond(request, run, lines)
        finally:
            run.leave(lines)

    async def _respond(self, request: web.Request, run: Run, lines: Follower) -> web.StreamResponse:
        """The answer as JSON; as lines if the client accepts them and there is progress."""
        accepts_lines = "application/x-ndjson" in request.headers.get("Accept", "")
        while (line := await lines.next()) is not None and not accepts_lines:
            pass
        stream: web.StreamResponse | None = None
        if line is not None:
            stream = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await stream.prepare(request)
            while line is not None:
                await stream.write(line + b"\n")
                line = await lines.next()
        answer = run.answer
        if answer is None:
            cancelled = AgentLost("the task was cancelled before it ended", "It may have been executed in part.")
            if stream is None:
                raise cancelled
            answer = jsonio.encode_bytes({"success": False, "error": str(cancelled)})
        if stream is None:
            return web.Response(body=answer, content_type="application/json")
        await stream.write(answer + b"\n")
        await stream.write_eof()
        return stream

    async def _health(self, request: web.Request) -> web.Response:
        state = await self._state()
        document = {"status": str(state.status), "reason": state.reason, "running": len(self.runs.running)}
        able = state.status in (AgentStatus.AVAILABLE, AgentStatus.BUSY)
        return web.Response(
            body=jsonio.encode_bytes(document), content_type="application/json", status=200 if able else 503
        )

    async def _state(self) -> AgentState:
        if self.runs.closing:
            return AgentState(AgentStatus.DRAINING, "it is stopping")
        try:
            async with asyncio.timeout(PROBE_S):
                state = await self.runs.agent.probe()
        except TimeoutError:
            return AgentState(AgentStatus.OFFLINE, f"it did not answer within {PROBE_S:g} s")
        except Exception as error:  # noqa: BLE001  an agent's own code
            return AgentState(AgentStatus.ERROR, f"its probe() raised {described(error)}")
        is_busy = state.status == AgentStatus.AVAILABLE and self.runs.is_full()
        return AgentState(AgentStatus.BUSY, "it runs as many tasks as it can") if is_busy else state

    async def _capabilities(self, request: web.Request) -> web.Response:
        agent = self.runs.agent
        document = {
            "agent_id": agent.agent_id,
            "name": agent.name,
            "description": agent.description,
            "version": agent.version,
            "capabilities": [each.as_dict() for each in self.runs.capabilities.values()],
        }
        return web.Response(body=jsonio.encode_bytes(document), content_type="application/json")


class _HttpError(AorchError):
    """An error that exists only in HTTP."""

    def __init__(self, error: web.HTTPException) -> None:
        super().__init__(error.reason)
        self.http_status = error.status  # type: ignore[misc]  # an instance's own
        self.code = "refused"  # type: ignore[misc]  # likewise


def _problem(error: AorchError) -> web.Response:
    """The response that describes `error` (RFC 9457)."""
    status = 409 if error.http_status == 200 else error.http_status
    body = {
        "type": f"urn:aorch:error:{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": str(error),
        "code": error.code,
        "hint": error.hint or None,
        "success": False,
        "error": str(error),
    }
    headers = {}
    if isinstance(error, AgentBusy):
        headers["Retry-After"] = f"{error.retry_after_s or 1:.0f}"
    if isinstance(error, NotAuthorised) and not isinstance(error, Forbidden):
        headers["WWW-Authenticate"] = "Signature" if isinstance(error, BadSignature) else "Bearer"
    return web.Response(
        body=jsonio.encode_bytes(body), status=status, content_type="application/problem+json", headers=headers
    )


def _task_in(body: bytes) -> dict[str, Any]:
    """The task in a body, complete. Raises InvalidJSON and UsageError."""
    task = jsonio.decode(body)
    if not isinstance(task, dict):
        raise InvalidJSON("the body is not a JSON object")
    if not task.get("capability"):
        raise UsageError("the task has no capability", "Add the key `capability`.")
    complete = {"task_id": new_id(), "session_id": "", "parameters": {}, "context": {}, **task}
    for name, kind in _KEYS.items():
        if not isinstance(complete[name], kind):
            expected = "an object" if kind is dict else "a string"
            raise UsageError(f"{name} is {jsonio.encode(complete[name])[:80]}; it must be {expected}")
    return complete

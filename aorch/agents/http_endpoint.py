"""Agents that are HTTP endpoints: `url` in aorch.toml. docs/agents.md describes the protocol."""

import asyncio
import ssl
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from aorch import jsonio
from aorch.agents import capability_cache
from aorch.agents.agent_hints import CONFIGURED
from aorch.agents.agent_kind import (
    PROXY,
    AddOption,
    AddRequest,
    AgentConfig,
    AgentKind,
    CapabilityConfig,
    check_positive,
    check_proxy,
)
from aorch.agents.base import Agent, AgentCapability, AgentState, AgentStatus, AgentTask
from aorch.agents.circuit_breaker import CircuitBreaker
from aorch.agents.endpoint_documents import Document, capabilities_in, state_in
from aorch.agents.signatures import Signatures, SignConfig
from aorch.agents.trace_headers import trace_headers
from aorch.config import environment
from aorch.config.settings import Config
from aorch.errors import AgentFailed, AgentUnreachable, ConfigInvalid, UsageError
from aorch.net.addresses import fault_of, holds_credentials
from aorch.net.outbound import OWNER, AddressPolicy
from aorch.process.threads import in_thread

if TYPE_CHECKING:
    from aorch.agents.http_call import Endpoint
    from aorch.net.client_pool import ClientPool
    from aorch.net.http_client import HttpClient

MAX_OUTPUT_BYTES = 10 * 1024 * 1024
CONNECT_TIMEOUT_S = 10.0
"""How long an endpoint may take to accept a connection."""
ADD_TIMEOUT_S = 10.0
"""How long `aorch agents add` waits for the capabilities of an endpoint."""


class EndpointConfig(AgentConfig, frozen=True):
    """`[agents.ID]` with `url`: an HTTP endpoint."""

    url: str
    capabilities: dict[str, CapabilityConfig] = msgspec.field(default_factory=dict)
    token_env: str = ""
    sign: SignConfig | None = None
    health: bool = True
    max_output_bytes: int = MAX_OUTPUT_BYTES
    proxy: str = ""


class HttpAgent(Agent):
    """Sends each task to `endpoint`, an http or https URL, as `POST <endpoint>/execute`.

    Without `capabilities` they are read from the endpoint each time it is opened; until then they are those of the last time.
    `token_env` names the variable with the bearer token, if the endpoint wants one, and `sign` the key that signs tasks.
    `health`: whether it is probed.
    `addresses` are those to which it may connect, and `proxy` is the URL of an HTTP proxy, which checks addresses itself.
    """

    kind = "url"
    is_remote = True
    hints = CONFIGURED

    def __init__(
        self,
        agent_id: str,
        name: str,
        description: str = "",
        version: str = "",
        *,
        endpoint: str,
        capabilities: Iterable[AgentCapability] = (),
        token_env: str = "",
        sign: SignConfig | None = None,
        health: bool = True,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        concurrency: int | None = None,
        addresses: AddressPolicy = OWNER,
        proxy: str = "",
    ) -> None:
        self.url = endpoint.rstrip("/")
        super().__init__(agent_id, name, description, version, self.url)
        self.timeout_s, self.idle_timeout_s, self.concurrency = timeout_s, idle_timeout_s, concurrency
        self._token_env, self.health, self._limit = token_env, health, max_output_bytes
        self._signatures = None if sign is None else Signatures(sign)
        self.secret_env = self.variables()
        self._addresses, self._proxy, self.breaker = addresses, proxy, CircuitBreaker(agent_id)
        self._capabilities = list(capabilities)
        self.discovers = not self._capabilities
        self._is_read = False
        if self.discovers:
            self._capabilities = capability_cache.known(self.url)
        self._caller: _Caller | None = None

    def get_capabilities(self) -> list[AgentCapability]:
        """The declared capabilities, otherwise those that the endpoint reported last."""
        return self._capabilities

    def variables(self) -> list[str]:
        """The names of the variables with its token and its key."""
        key_env = self._signatures.config.key_env if self._signatures is not None else ""
        return [name for name in (self._token_env, key_env) if name]

    def problem(self) -> str | None:
        """Names the variable that is not set, or the package that is not installed."""
        if self._signatures is not None and (problem := self._signatures.problem()):
            return problem
        if not self._token_env:
            return None
        token = environment.secret(self._token_env)
        if not token:
            return f"its token_env names {self._token_env}, which is not set"
        if not environment.fits_header(token):
            return f"{self._token_env} contains characters that an HTTP header cannot have"
        return None

    def preview(self, task: AgentTask) -> dict[str, str]:
        """The request, and its body."""
        return {"request": f"POST {self.url}/execute", "body": jsonio.encode(task)}

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Send the task. The REQUEST's id is the idempotency key."""
        caller = self._caller or await self._open()
        headers = trace_headers(task)
        headers["Idempotency-Key"] = f'"{task["task_id"]}"'
        if self.breaker.is_open():
            await self.breaker.prepare()
        with self.breaker:
            answer: dict[str, Any] = await caller.http.execute(
                caller.client(), self._endpoint(caller), task, headers, self._signatures
            )
            return answer

    async def probe(self) -> AgentState:
        """Its own account of its health, and its capabilities if it has to report them."""
        if problem := self.problem():
            return AgentState(AgentStatus.ERROR, problem)
        try:
            state = state_in(await self._get("/health")) if self.health else AgentState()
            if self.discovers and not self._is_read and state.status in (AgentStatus.AVAILABLE, AgentStatus.BUSY):
                self._capabilities = await self.read_capabilities()
                self._is_read = True
                capability_cache.remember(self.url, self._capabilities)
        except AgentUnreachable as error:
            self._is_read = False  # it may come back with other capabilities
            is_tls = isinstance(error.__cause__, ssl.SSLError)
            return AgentState(AgentStatus.ERROR if is_tls else AgentStatus.OFFLINE, str(error))
        except AgentFailed as error:
            return AgentState(AgentStatus.ERROR, str(error))
        return state

    async def read_capabilities(self) -> list[AgentCapability]:
        """The capabilities that the endpoint reports now. Raises AgentFailed, and its subclasses of the connection."""
        read = await self._get("/capabilities")
        if read.status != 200:
            raise AgentFailed(f"{self.url}/capabilities answered {read.status}: {read.text}", _DECLARE)
        try:
            return capabilities_in(read.content)
        except msgspec.ValidationError as error:
            why = "which is not JSON" if read.content is None else f"which lists no capabilities ({error})"
            raise AgentFailed(f"{self.url}/capabilities answered with {read.text!r}, {why}", _DECLARE) from error

    async def close(self) -> None:
        """Close its connections."""
        caller, self._caller, self._is_read = self._caller, None, False
        if caller is not None:
            await caller.pool.close()

    async def _get(self, path: str) -> Document:
        caller = self._caller or await self._open()
        document: Document = await caller.http.get(caller.client(), self._endpoint(caller), path)
        return document

    async def _open(self) -> "_Caller":
        """Importing aiohttp must not block the event loop, and only the first task waits for it."""
        await in_thread(lambda: import_module("aorch.agents.http_call"))
        from aorch.agents import http_call  # noqa: PLC0415  aiohttp takes 190 ms
        from aorch.net.client_pool import ClientPool  # noqa: PLC0415  likewise
        from aorch.net.http_client import HttpClient  # noqa: PLC0415  likewise

        if self._caller is None:
            pool = ClientPool(lambda: HttpClient(0, CONNECT_TIMEOUT_S, proxy=self._proxy, addresses=self._addresses))
            endpoint = http_call.Endpoint(self.agent_id, self.url, self._limit, hints=self.hints)
            self._caller = _Caller(http_call, pool, endpoint)
        return self._caller

    def _endpoint(self, caller: "_Caller") -> "Endpoint":
        if not self._token_env:
            return caller.endpoint
        return caller.endpoint._replace(secret=environment.secret(self._token_env))


class _Caller(NamedTuple):
    """What calls need once aiohttp is imported: the module `http_call`, the connections, and the address without a token."""

    http: Any
    pool: "ClientPool"
    endpoint: "Endpoint"

    def client(self) -> "HttpClient":
        return self.pool.client()


class EndpointKind(AgentKind[EndpointConfig]):
    """HTTP endpoints: `url` in aorch.toml, `--url` of `aorch agents add`."""

    key, title = "url", "an HTTP endpoint"
    config = EndpointConfig
    example = "aorch agents add translate --url https://agents.example/translate"
    options = (
        AddOption(
            "--url",
            "URL",
            "Address of the endpoint. Without --capability, aorch reads its capabilities from URL/capabilities.",
        ),
        AddOption("--token-env", "NAME", "Environment variable with the bearer token of the endpoint."),
        PROXY,
    )

    def make(self, agent_id: str, table: EndpointConfig, config: Config, secrets: frozenset[str]) -> HttpAgent:
        """The agent of that table."""
        agent = HttpAgent(
            agent_id,
            agent_id,
            table.url,
            endpoint=table.url,
            capabilities=[declared.named(name) for name, declared in table.capabilities.items()],
            token_env=table.token_env,
            sign=table.sign,
            health=table.health,
            max_output_bytes=table.max_output_bytes,
            proxy=table.proxy,
        )
        table.apply(agent)
        return agent

    def table_of(self, request: AddRequest) -> tuple[str, dict[str, Any]]:
        """The ID, the address and the capabilities; without `--capability`, those that the endpoint reports."""
        self.reject(request, {"a program after --": request.words})
        if not request.agent_id:
            raise UsageError("the agent needs an ID", f"Example: {self.example}")
        table = {"url": request.options["url"], **request.common}
        table |= {name: value for name in ("token_env", "proxy") if (value := request.options.get(name))}
        self.check(f"agents.{request.agent_id}", msgspec.convert(table, EndpointConfig))
        capabilities = request.capabilities or _read_now(request.agent_id, table)
        return request.agent_id, {**table, **({"capabilities": capabilities} if capabilities else {})}

    def check(self, where: str, table: EndpointConfig) -> None:
        """Check the URL."""
        fault = fault_of(table.url)
        if fault is None and holds_credentials(table.url):
            raise ConfigInvalid(
                f"{where}.url contains a user name or a password",
                "Remove it, and set token_env to the name of an environment variable with a token.",
            )
        if fault is None and ("?" in table.url or "#" in table.url):
            fault = "it contains a query or a fragment, to which /execute cannot be added"
        if fault:
            raise ConfigInvalid(f"{where}.url is invalid: {fault}", "Write http://HOST/PATH or https://HOST/PATH.")
        check_positive(where, table, "max_output_bytes")
        check_proxy(where, table.proxy)

    def capabilities(self, table: EndpointConfig) -> list[AgentCapability]:
        """The capabilities of the table, otherwise those that the endpoint reported last."""
        declared = [each.named(name) for name, each in table.capabilities.items()]
        return declared or capability_cache.known(table.url.rstrip("/"))

    def secrets(self, table: EndpointConfig) -> Iterable[str]:
        """The variables with the token and the key."""
        return [name for name in (table.token_env, table.sign.key_env if table.sign else "") if name]


KIND = EndpointKind()
_DECLARE = "Declare its capabilities in aorch.toml, or with --capability."


def _read_now(agent_id: str, table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables of the capabilities that the endpoint reports; none if they have no form in TOML, which has no null."""
    url, token_env, proxy = table["url"], table.get("token_env", ""), table.get("proxy", "")
    agent = HttpAgent(agent_id, agent_id, endpoint=url, token_env=token_env, proxy=proxy)
    if problem := agent.problem():
        raise UsageError(f"cannot read the capabilities of {url}: {problem}", _DECLARE)

    async def read() -> list[AgentCapability]:
        try:
            async with asyncio.timeout(ADD_TIMEOUT_S):
                return await agent.read_capabilities()
        except TimeoutError as error:
            late = f"{url}/capabilities did not answer within {ADD_TIMEOUT_S:g} s"
            raise AgentUnreachable(late, _DECLARE) from error
        finally:
            await agent.close()

    found = asyncio.run(read())
    if not found:
        raise AgentFailed(f"{url}/capabilities reports no capabilities", _DECLARE)
    tables = {each.name: _table(each) for each in found}
    if any(_has_null(table) for table in tables.values()):
        capability_cache.remember(agent.url, found)
        return {}
    return tables


def _table(capability: AgentCapability) -> dict[str, Any]:
    given = {
        "description": capability.description,
        "parameters": _without_null_defaults(capability.parameters),
        "idempotent": capability.idempotent,
    }
    return {key: value for key, value in given.items() if value}


def _without_null_defaults(schema: Any) -> Any:
    """`schema` without `"default": null`, which validates nothing and has no form in TOML."""
    if isinstance(schema, dict):
        kept = {key: value for key, value in schema.items() if not (key == "default" and value is None)}
        return {key: _without_null_defaults(value) for key, value in kept.items()}
    return [_without_null_defaults(each) for each in schema] if isinstance(schema, list) else schema


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None

"""The document of an agent that was registered over HTTP: what a caller says about it, and what a caller may say."""

import hashlib
import ipaddress
import socket
from collections.abc import Iterable, Set
from dataclasses import replace
from urllib.parse import urlsplit

import msgspec

from aorch import jsonio
from aorch.agents.agent_kind import CapabilityConfig
from aorch.agents.base import AgentCapability
from aorch.agents.mcp_lock import Tools
from aorch.agents.parameters import ParameterCheck
from aorch.agents.signatures import SignConfig
from aorch.config.sections import CredentialConfig
from aorch.config.settings import Config, callers_addresses
from aorch.errors import ConfigInvalid, ParametersInvalid
from aorch.net.addresses import fault_of, holds_credentials
from aorch.net.outbound import AddressRefused
from aorch.suggestions import did_you_mean

MOST_BYTES = 256 * 1024
"""Maximum size of a document as JSON, with the tools of an MCP server."""
SHARED_PRIORITY, SHARED_WEIGHT = 3, 1.0
"""The best priority and weight of a capability that configured agents have too: a caller must not take tasks away from them."""
PUBLIC = "8.8.8.8"
"""An address that every policy allows."""


class DocumentCapability(CapabilityConfig, frozen=True, kw_only=True, omit_defaults=True):
    """A capability in a document, as in aorch.toml, with its `name`: that of a tool if the agent is an MCP server."""

    name: str


class AgentDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The description of a registered agent: an HTTP endpoint (`endpoint`) or an MCP server (`mcp`), by its URL.

    `credential` and `sign` are names of tables `[credentials.NAME]`, or empty. `tools` are those that the MCP server of `version`
    `server_version` listed when it was registered.
    """

    agent_id: str
    name: str
    description: str = ""
    version: str = ""
    endpoint: str = ""
    mcp: str = ""
    capabilities: list[DocumentCapability] = []
    expose: list[str] = []
    trust_annotations: bool = False
    refresh: str = "manual"
    labels: dict[str, str] = {}
    credential: str = ""
    sign: str = ""
    concurrency: int | None = None
    rate_per_min: float | None = None
    tools: Tools = {}
    server_version: str = ""

    def names(self) -> list[str]:
        """The names of its capabilities."""
        if self.endpoint:
            return [each.name for each in self.capabilities]
        return [name for tool in self.tools for name in self.names_of(tool)]

    def names_of(self, tool: str) -> list[str]:
        """The names of the capability of that tool; of that capability itself, if the agent is an endpoint."""
        if self.endpoint:
            return [tool]
        return [f"{self.agent_id}.{tool}", *([tool] if tool in self.expose else ())]

    def encode(self) -> tuple[str, str]:
        """The document as JSON text, and its SHA-256 (hex)."""
        text = jsonio.encode(msgspec.to_builtins(self))
        return text, hashlib.sha256(text.encode()).hexdigest()

    @property
    def url(self) -> str:
        """The URL of the endpoint or of the MCP server."""
        return self.endpoint or self.mcp

    def check(self, config: Config) -> None:
        """Raise ParametersInvalid if the agent cannot be registered, independently of other registered agents."""
        _check_kind(self)
        _check_names(self)
        _check_url(self, config)
        self.credential_env(config)
        self.signing(config)
        self.check_size()

    def check_size(self) -> None:
        """Raise ParametersInvalid if it is longer than MOST_BYTES."""
        if len(self.encode()[0].encode()) > MOST_BYTES:
            raise ParametersInvalid(f"the description of the agent is longer than {MOST_BYTES:,} bytes as JSON")

    def check_tools(self) -> None:
        """Raise ParametersInvalid if it names a tool that the MCP server does not have, or if the server has none."""
        if not self.tools:
            raise ParametersInvalid(f"body: mcp: {self.mcp} lists no tools", "Register a server that has tools.")
        for field, names in (("capabilities", [each.name for each in self.capabilities]), ("expose", self.expose)):
            if unknown := [name for name in names if name not in self.tools]:
                known = list(self.tools)
                raise ParametersInvalid(
                    f"body: {field}: the MCP server has no tool {unknown[0]!r}",
                    f"{did_you_mean(unknown[0], known)}Its tools: {', '.join(known)}.",
                )

    def check_shared(self, shared: Iterable[str]) -> None:
        """Raise ParametersInvalid if a capability that configured agents have too would be preferred to theirs."""
        shared = set(shared)
        for each in self.capabilities:
            if shared.intersection(self.names_of(each.name)) and (
                each.priority < SHARED_PRIORITY or each.weight > SHARED_WEIGHT
            ):
                raise ParametersInvalid(
                    f"body: capabilities: {each.name}: configured agents have this capability too, so its priority must be"
                    f" {SHARED_PRIORITY} or more, and its weight at most {SHARED_WEIGHT:g}",
                    "Omit priority and weight.",
                )

    def credential_env(self, config: Config) -> str:
        """The variable with the token for its URL; empty if it needs none. Raises ParametersInvalid."""
        if not self.credential:
            return ""
        table = self._credential("credential", self.credential, config)
        if table.key_id:
            raise ParametersInvalid(
                f"body: credential: {self.credential!r} is a key for signatures, which is never sent",
                "Name it in sign.",
            )
        return table.env

    def signing(self, config: Config) -> SignConfig | None:
        """The key that signs its tasks; None if they are not signed. Raises ParametersInvalid."""
        if not self.sign:
            return None
        table = self._credential("sign", self.sign, config)
        if not table.key_id:
            raise ParametersInvalid(
                f"body: sign: {self.sign!r} is a token, not a key for signatures",
                f"Add key_id to credentials.{self.sign} in aorch.toml, or name it in credential.",
            )
        return SignConfig(table.env, table.key_id, table.algorithm)

    def _credential(self, field: str, name: str, config: Config) -> CredentialConfig:
        table = config.credentials.get(name)
        if table is None:
            raise ParametersInvalid(
                f"body: {field}: {name!r} is not configured",
                f"Add [credentials.{name}] with env and hosts to aorch.toml, or omit {field}.",
            )
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
        shown = f"[{host}]" if ":" in host else host
        if not {host, f"{shown}:{port}"} & {each.lower() for each in table.hosts}:
            raise ParametersInvalid(
                f"body: {field}: {name!r} must not be sent to {shown}:{port}",
                f"Add the host to credentials.{name}.hosts in aorch.toml, or omit {field}.",
            )
        return table


def decode(text: str) -> AgentDocument:
    """The document in a row of the ledger. Raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=AgentDocument)


def offered(capabilities: Iterable[AgentCapability], taken: Set[str], shared: Set[str]) -> list[AgentCapability]:
    """These capabilities without those in `taken`; those in `shared` are not preferred to those of configured agents."""
    kept = [each for each in capabilities if each.name not in taken]
    return [_demoted(each) if each.name in shared else each for each in kept]


def _demoted(capability: AgentCapability) -> AgentCapability:
    priority, weight = max(capability.priority, SHARED_PRIORITY), min(capability.weight, SHARED_WEIGHT)
    return replace(capability, priority=priority, weight=weight)


def _check_kind(document: AgentDocument) -> None:
    if bool(document.endpoint) == bool(document.mcp):
        given = "both endpoint and mcp" if document.mcp else "neither endpoint nor mcp"
        raise ParametersInvalid(f"body: it has {given}", "Send the URL of an HTTP endpoint or of an MCP server.")
    if document.endpoint and not document.capabilities:
        raise ParametersInvalid("body: capabilities: an endpoint needs at least one", "Add a capability.")
    only_mcp = {"expose": document.expose, "trust_annotations": document.trust_annotations}
    only_mcp["refresh"] = document.refresh != "manual"
    only_endpoint = {"sign": document.sign}
    for field, value in (only_mcp if document.endpoint else only_endpoint).items():
        if value:
            other = "an MCP server (mcp)" if document.endpoint else "an HTTP endpoint (endpoint)"
            raise ParametersInvalid(f"body: {field} is only for {other}", f"Omit {field}.")
    for each in document.capabilities if document.mcp else ():
        if each.parameters:
            raise ParametersInvalid(
                f"body: capabilities: {each.name}: parameters: the MCP server declares those of its tools", "Omit them."
            )


def _check_names(document: AgentDocument) -> None:
    names = [each.name for each in document.capabilities]
    for what, text in (("agent_id", document.agent_id), *(("a capability's name", name) for name in names)):
        if not (text.isprintable() and text == text.strip()):
            raise ParametersInvalid(f"body: {what} must be printable and must not begin or end with a space: {text!r}")
    if document.agent_id in (".", ".."):
        raise ParametersInvalid(f"body: agent_id must not be {document.agent_id!r}, which is a part of a path")
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ParametersInvalid(f"body: capabilities: {', '.join(sorted(repeated))} appears more than once")
    for each in document.capabilities:
        try:
            ParameterCheck(AgentCapability(each.name, each.description, each.parameters))
        except ConfigInvalid as error:
            raise ParametersInvalid(f"body: {error}", error.hint) from error


def _check_url(document: AgentDocument, config: Config) -> None:
    url, field = document.url, "endpoint" if document.endpoint else "mcp"
    fault = fault_of(url)
    if fault is None and holds_credentials(url):
        fault = "it contains a user name or a password; name a credential instead"
    if fault is None and ("?" in url or "#" in url):
        fault = "it contains a query or a fragment"
    if fault is None:
        try:
            callers_addresses(config).check(_address_of(url))
        except AddressRefused as error:
            fault = str(error)
    if fault:
        raise ParametersInvalid(f"body: {field}: {fault}", "Send http://HOST/PATH or https://HOST/PATH.")


def _address_of(url: str) -> str:
    """The IP address in `url`. A name is looked up, and its address checked, when a connection is opened; only `localhost` is
    known before.
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return PUBLIC

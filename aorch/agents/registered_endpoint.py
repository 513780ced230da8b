"""Agents that were registered over HTTP: endpoints whose description is in the ledger instead of aorch.toml."""

import hashlib
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec

from aorch import jsonio
from aorch.agents.base import AgentCapability
from aorch.agents.http_endpoint import HttpAgent
from aorch.agents.parameters import ParameterCheck
from aorch.config.settings import Config, callers_addresses
from aorch.errors import AgentUnreachable, ConfigInvalid, ParametersInvalid
from aorch.net.addresses import fault_of, holds_credentials
from aorch.net.outbound import AddressRefused

MOST_BYTES = 256 * 1024
"""Maximum size of a document as JSON."""


class DocumentCapability(msgspec.Struct, frozen=True):
    """A capability in a document."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    idempotent: bool = False


class AgentDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a registered agent. `credential` is the name of a table `[credentials.NAME]`, or empty."""

    agent_id: str
    name: str
    description: str = ""
    version: str = ""
    endpoint: str
    capabilities: list[DocumentCapability]
    labels: dict[str, str] = {}
    credential: str = ""

    def encode(self) -> tuple[str, str]:
        """The document as JSON text, and its SHA-256 (hex)."""
        text = jsonio.encode(msgspec.to_builtins(self))
        return text, hashlib.sha256(text.encode()).hexdigest()

    def check(self, config: Config) -> None:
        """Raise ParametersInvalid if the agent cannot be registered, independently of other registered agents."""
        _check_names(self)
        _check_endpoint(self.endpoint, config)
        self.credential_env(config)
        if len(self.encode()[0].encode()) > MOST_BYTES:
            raise ParametersInvalid(f"the description of the agent is longer than {MOST_BYTES:,} bytes as JSON")

    def credential_env(self, config: Config) -> str:
        """The variable with the token for its endpoint; empty if it needs none. Raises ParametersInvalid."""
        if not self.credential:
            return ""
        table = config.credentials.get(self.credential)
        if table is None:
            raise ParametersInvalid(
                f"body: credential: {self.credential!r} is not configured",
                f"Add [credentials.{self.credential}] with env and hosts to aorch.toml, or omit credential.",
            )
        parts = urlsplit(self.endpoint)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
        shown = f"[{host}]" if ":" in host else host
        if not {host, f"{shown}:{port}"} & {each.lower() for each in table.hosts}:
            raise ParametersInvalid(
                f"body: credential: {self.credential!r} must not be sent to {shown}:{port}",
                f"Add the host to credentials.{self.credential}.hosts in aorch.toml, or omit credential.",
            )
        return table.env

    def without(self, capabilities: set[str]) -> "AgentDocument":
        """The document without these capabilities."""
        kept = [each for each in self.capabilities if each.name not in capabilities]
        return msgspec.structs.replace(self, capabilities=kept)


def decode(text: str) -> AgentDocument:
    """The document in a row of the ledger. Raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=AgentDocument)


class RegisteredEndpoint(HttpAgent):
    """The agent of `document`, whose endpoint gets its credential if `config` still allows that."""

    def __init__(self, document: AgentDocument, config: Config) -> None:
        self._fault, token_env = "", ""
        try:
            token_env = document.credential_env(config)
        except ParametersInvalid as error:
            self._fault = str(error).removeprefix("body: ")
        super().__init__(
            document.agent_id,
            document.name,
            document.description,
            document.version,
            endpoint=document.endpoint,
            capabilities=[
                AgentCapability(each.name, each.description, each.parameters, each.idempotent)
                for each in document.capabilities
            ],
            token_env=token_env,
            addresses=callers_addresses(config),
        )
        self.labels = document.labels
        self.discovers = False

    def problem(self) -> str | None:
        """Why its credential cannot be sent, or None."""
        return self._fault or super().problem()

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Send the task, unless its credential cannot be sent."""
        if problem := self.problem():
            raise AgentUnreachable(f"{self.agent_id}: {problem}")
        return await super().execute(task)


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


def _check_endpoint(url: str, config: Config) -> None:
    fault = fault_of(url)
    if fault is None and holds_credentials(url):
        fault = "it contains a user name or a password; name a credential instead"
    if fault is None and ("?" in url or "#" in url):
        fault = "it contains a query or a fragment, to which /execute cannot be added"
    if fault is None:
        try:
            callers_addresses(config).check(_address_of(url))
        except AddressRefused as error:
            fault = str(error)
    if fault:
        raise ParametersInvalid(f"body: endpoint: {fault}", "Send http://HOST/PATH or https://HOST/PATH.")


PUBLIC = "8.8.8.8"
"""An address that every policy allows."""


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

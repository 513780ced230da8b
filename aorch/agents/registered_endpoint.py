"""Agents that were registered over HTTP and are HTTP endpoints: their description is in the ledger instead of aorch.toml."""

from collections.abc import Set
from typing import Any

from aorch.agents.agent_document import AgentDocument, offered
from aorch.agents.agent_hints import of_registered
from aorch.agents.http_endpoint import HttpAgent
from aorch.config.settings import Config, callers_addresses
from aorch.errors import AgentUnreachable, ParametersInvalid


class RegisteredEndpoint(HttpAgent):
    """The agent of `document` without the capabilities in `taken`; `shared` are those that configured agents have too.

    The endpoint gets its credential if `config` still allows that.
    """

    def __init__(self, document: AgentDocument, config: Config, taken: Set[str], shared: Set[str]) -> None:
        self._fault, token_env, sign = "", "", None
        try:
            token_env, sign = document.credential_env(config), document.signing(config)
        except ParametersInvalid as error:
            self._fault = str(error).removeprefix("body: ")
        super().__init__(
            document.agent_id,
            document.name,
            document.description,
            document.version,
            endpoint=document.endpoint,
            capabilities=offered((each.named(each.name) for each in document.capabilities), taken, shared),
            token_env=token_env,
            sign=sign,
            addresses=callers_addresses(config),
        )
        self.labels = document.labels
        self.concurrency, self.rate_per_min = document.concurrency, document.rate_per_min
        self.shares_concurrency = document.concurrency is not None
        self.discovers = False
        self.hints = of_registered(document.credential, "endpoint")

    def problem(self) -> str | None:
        """Why its credential cannot be used, or None."""
        return self._fault or super().problem()

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        """Send the task, unless its credential cannot be used."""
        if problem := self.problem():
            raise AgentUnreachable(f"{self.agent_id}: {problem}")
        return await super().execute(task)

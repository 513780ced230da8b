"""Models as agents: each capability is a prompt, which is a template over its parameters.

The answer is `{"text"}`, or an object that matches the capability's `result` (a JSON Schema). It also has the model, the stop
reason and the tokens, as far as the server reports them.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import msgspec

from aorch import jsonio
from aorch.agents.agent_kind import (
    AddOption,
    AddRequest,
    AgentConfig,
    AgentKind,
    CapabilityConfig,
    check_positive,
    check_proxy,
)
from aorch.agents.base import Agent, AgentCapability
from aorch.agents.model_agent import ModelAgent, Prompt
from aorch.agents.model_call import ModelAddress
from aorch.config import templates
from aorch.config.service_urls import check_url
from aorch.config.settings import Config
from aorch.errors import ConfigInvalid, InvalidJSON, UsageError

DEFAULT_URLS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
DEFAULT_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""The variables of the vendors' own keys, which are sent to no other server."""


class PromptConfig(CapabilityConfig, frozen=True, kw_only=True):
    """`[agents.ID.capabilities.NAME]` of a model. By default, every parameter of the prompt is required."""

    prompt: str
    result: dict[str, Any] | None = None

    def named(self, name: str) -> AgentCapability:
        """The capability, with its name."""
        return replace(super().named(name), parameters=self.parameters or _parameters_of(self.prompt))


class ModelConfig(AgentConfig, frozen=True, kw_only=True):
    """`[agents.ID]` with `llm`: a model."""

    llm: Literal["openai", "anthropic"]
    model: str
    capabilities: dict[str, PromptConfig] = msgspec.field(default_factory=dict)
    base_url: str | None = None
    key_env: str | None = None
    system: str = ""
    temperature: float | None = None
    max_output_tokens: int | None = None
    proxy: str = ""

    @property
    def key_variable(self) -> str:
        """The variable of its key; empty if it needs none. The vendor's own variable is only for the vendor's own server."""
        if self.key_env is not None:
            return self.key_env
        return "" if self.base_url else DEFAULT_KEYS[self.llm]


class ModelKind(AgentKind[ModelConfig]):
    """Models: `llm` in aorch.toml, `--llm` of `aorch agents add`."""

    key, title = "llm", "a model"
    config = ModelConfig
    capability = PromptConfig
    example = "aorch agents add summarize --llm openai/MODEL --prompt 'Summarize: {text}'"
    options = (
        AddOption("--llm", "API/MODEL", "Model with its API, such as openai/MODEL or anthropic/MODEL."),
        AddOption("--prompt", "TEXT", "Prompt, such as 'Summarize: {text}'; {name} is replaced by that parameter."),
        AddOption("--system", "TEXT", "System prompt of the model."),
        AddOption("--result", "SCHEMA", 'JSON Schema of the result (default: {"text": …}).'),
        AddOption("--base-url", "URL", "Base URL of the server (default: the vendor's)."),
        AddOption(
            "--key-env", "NAME", "Environment variable with the API key (default: the vendor's, for its own server)."
        ),
        AddOption("--temperature", "NUMBER", "Temperature (default: the server's).", float),
        AddOption("--max-output-tokens", "N", "Maximum output tokens (default: the server's).", int),
    )
    shared_options = ("proxy",)

    def make(self, agent_id: str, table: ModelConfig, config: Config, secrets: frozenset[str]) -> Agent:
        """The agent of that table."""
        url = table.base_url or DEFAULT_URLS[table.llm]
        agent = ModelAgent(
            agent_id,
            ModelAddress(table.llm, url, table.model, table.key_variable, table.proxy),
            [Prompt(each.named(name), each.prompt, each.result) for name, each in table.capabilities.items()],
            system=table.system,
            temperature=table.temperature,
            max_output_tokens=table.max_output_tokens,
        )
        agent.description = f"{table.model} ({table.llm})"
        return agent

    def table_of(self, request: AddRequest) -> tuple[str, dict[str, Any]]:
        """Give the ID and the prompt of the agent. Its capability is named as the agent, unless others are given."""
        self.reject(request, {"a program after --": request.words})
        options = dict(request.options)
        llm, slash, model = options.pop("llm").partition("/")
        if llm not in DEFAULT_URLS or not (slash and model):
            raise UsageError("--llm names no API and model", "Write --llm openai/MODEL or --llm anthropic/MODEL.")
        prompt, result = options.pop("prompt", None), options.pop("result", None)
        if missing := [what for what, given in (("an ID", request.agent_id), ("--prompt", prompt)) if not given]:
            raise UsageError(f"the agent needs {' and '.join(missing)}", f"Example: `{self.example}`")
        asked = {"prompt": prompt, **({"result": _schema(result)} if result else {})}
        capabilities = {
            name: {**about, **asked} for name, about in (request.capabilities or {request.agent_id: {}}).items()
        }
        return request.agent_id, {
            "llm": llm, "model": model, **request.common, **options, "capabilities": capabilities
        }  # fmt: skip

    def check(self, where: str, table: ModelConfig) -> None:
        """Check the model, the URL, the numbers, and that there is a capability."""
        if not (table.model and table.capabilities):
            key = where.rpartition(": ")[2]
            raise ConfigInvalid(
                f"{where} needs a `model` and at least one capability",
                f'Add a table [{key}.capabilities.NAME] with a `prompt`, or the model to `model = "…"`.',
            )
        if table.base_url is not None:
            check_url(f"{where}.base_url", table.base_url)
        if table.temperature is not None and table.temperature < 0:
            raise ConfigInvalid(f"{where}.temperature is {table.temperature}; it must be 0 or more")
        check_positive(where, table, "max_output_tokens")
        check_proxy(where, table.proxy)
        for name, capability in table.capabilities.items():
            if capability.result is not None and capability.result.get("type") != "object":
                raise ConfigInvalid(
                    f"{where}.capabilities.{name}.result is not a JSON Schema of an object",
                    'Write a JSON Schema, such as { type = "object", properties = { title = { type = "string" } } }.',
                )

    def capabilities(self, table: ModelConfig) -> list[AgentCapability]:
        """All capabilities of the table."""
        return [declared.named(name) for name, declared in table.capabilities.items()]

    def secrets(self, table: ModelConfig) -> Iterable[str]:
        """The variable of its key."""
        return filter(None, (table.key_variable,))


KIND = ModelKind()


def _parameters_of(prompt: str) -> dict[str, Any]:
    """The JSON Schema that requires each parameter of the prompt, of any type. (A prompt without parameters has none.)"""
    names = list(dict.fromkeys(each.path[0] for each in templates.references(prompt) if each.path))
    return {"type": "object", "properties": {name: {} for name in names}, "required": names} if names else {}


def _schema(text: str) -> Any:
    try:
        return jsonio.decode(text)
    except InvalidJSON as error:
        raise UsageError(f"--result is not JSON: {error}", "Give a JSON Schema.") from error

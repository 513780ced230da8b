"""The parts of a kind of agent: its table in aorch.toml, how an agent is made from it, and its options of `aorch agents
add`.

Each kind is one module. `kinds.py` lists the kinds by the key that selects them in `[agents.ID]`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec

from aorch.agents.base import Agent, AgentCapability, RetryPolicy
from aorch.config.service_urls import check_url
from aorch.config.settings import Config
from aorch.errors import ConfigInvalid, UsageError


class RetryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`retry` of a capability."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    backoff_s: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    never: tuple[str, ...] = ()


class CapabilityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[agents.ID.capabilities.NAME]`: a capability that the configuration declares."""

    description: str = ""
    parameters: dict[str, Any] = {}
    idempotent: bool = False
    retry: RetryConfig = RetryConfig()
    priority: Annotated[int, msgspec.Meta(ge=1, le=5)] = 3
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    def named(self, name: str) -> AgentCapability:
        """The capability, with its name."""
        retry = RetryPolicy(self.retry.attempts, self.retry.backoff_s, self.retry.never)
        return AgentCapability(
            name, self.description, self.parameters, self.idempotent, retry, self.priority, self.weight
        )


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The keys of `[agents.ID]` that every kind of agent has. Each kind extends it with its own."""

    name: str | None = None
    description: str = ""
    version: str | None = None
    labels: dict[str, str] = {}
    timeout_s: float | None = None
    idle_timeout_s: float | None = None
    concurrency: int | None = None
    rate_per_min: float | None = None

    def apply(self, agent: Agent) -> None:
        """Set the keys of the table on `agent`. Keys that the table does not set keep the values of the agent's own code."""
        for key in COMMON:
            if value := getattr(self, key):
                setattr(agent, key, value)
        if self.concurrency is not None:
            agent.shares_concurrency = True


COMMON = ("name", "description", "version", "labels", "timeout_s", "idle_timeout_s", "concurrency", "rate_per_min")
"""The keys of AgentConfig, which are attributes of agents too."""


class AddOption(NamedTuple):
    """An option of `aorch agents add`.

    Its value has the type `type`; bool is an option without a value. `multiple`: the option can be repeated, and its value is a
    list. `pairs`: its value is an object, from KEY=VALUE and KEY:=JSON. `optional`: without a value it is an empty string.
    """

    flag: str
    metavar: str
    help: str
    type: type = str
    multiple: bool = False
    pairs: bool = False
    optional: bool = False

    @property
    def name(self) -> str:
        """The key of its value in `AddRequest.options`."""
        return self.flag.removeprefix("--").replace("-", "_")


class AddRequest(NamedTuple):
    """The arguments of `aorch agents add`.

    `words` follow `--`. `capabilities` has the table of each capability, `options` the given options of all kinds, and `common`
    the keys that every kind has. `folder` is the directory of the aorch.toml to which the agent is added.
    """

    folder: Path
    agent_id: str
    words: list[str]
    capabilities: dict[str, dict[str, Any]]
    options: dict[str, Any]
    common: dict[str, Any]


Table = TypeVar("Table", bound=AgentConfig)


class AgentKind(ABC, Generic[Table]):
    """A kind of agent. `key` selects it in `[agents.ID]`. `config` defines the other keys of its tables."""

    key: ClassVar[str]
    title: ClassVar[str]
    """The name of the kind in messages, such as "a program"."""
    config: type[Table]
    capability: type[CapabilityConfig] = CapabilityConfig
    """The shape of its tables `[agents.ID.capabilities.NAME]`."""
    options: ClassVar[tuple[AddOption, ...]] = ()
    shared_options: ClassVar[tuple[str, ...]] = ()
    """The names of options of other kinds that this kind accepts too."""
    takes_words: ClassVar[bool] = False
    """Whether it accepts words after `--` together with one of its options."""
    example: ClassVar[str]
    """A command line of `aorch agents add`."""

    @abstractmethod
    def make(self, agent_id: str, table: Table, config: Config, secrets: frozenset[str]) -> Agent:
        """The agent that `table` declares. `secrets` names the environment variables with secrets of any agent."""

    @abstractmethod
    def table_of(self, request: AddRequest) -> tuple[str, dict[str, Any]]:
        """The ID and the table of the agent to add. Raises UsageError if something is missing or does not belong to this kind."""

    def tables_of(self, request: AddRequest) -> list[tuple[str, dict[str, Any]]]:
        """Like `table_of`, for a request that may add several agents."""
        return [self.table_of(request)]

    def is_requested(self, request: AddRequest) -> bool:
        """Whether the command line selects this kind."""
        return self.key in request.options

    def check(self, where: str, table: Table) -> None:
        """Raise ConfigInvalid, with `where` before the key, for invalid values that the types of `config` allow."""

    def capabilities(self, table: Table) -> list[AgentCapability]:
        """The capabilities that `table` declares; None if only the agent's own code knows them."""
        return []

    def capabilities_in(self, agent_id: str, table: Table, config: Config) -> list[AgentCapability]:
        """Like `capabilities`, with those that a file next to aorch.toml declares. Raises ConfigInvalid."""
        return self.capabilities(table)

    def secrets(self, table: Table) -> Iterable[str]:
        """The environment variables from which `table` takes secrets. Programs of other agents do not inherit them."""
        return ()

    def reject(self, request: AddRequest, given: Mapping[str, object]) -> None:
        """Raise UsageError if one of `given` (by its name in the message) or an option of another kind has a value."""
        own = {*(option.name for option in self.options), *self.shared_options}
        foreign = [f"--{name.replace('_', '-')}" for name in request.options if name not in own]
        if wrong := [*(what for what, value in given.items() if value), *foreign]:
            raise UsageError(f"{' and '.join(wrong)} cannot be used for {self.title}", f"Example: `{self.example}`")


PROXY = AddOption(
    "--proxy", "URL", "HTTP proxy for requests to the agent, except those to this machine (default: none)."
)
"""An option of each kind that sends requests."""


def check_proxy(where: str, proxy: str) -> None:
    """Raise ConfigInvalid if `proxy` is set and is not the URL of an HTTP proxy."""
    if proxy:
        check_url(f"{where}.proxy", proxy)


def check_positive(where: str, table: AgentConfig, *keys: str) -> None:
    """Raise ConfigInvalid if one of these numbers is set and not above 0."""
    for key in keys:
        if (value := getattr(table, key)) is not None and value <= 0:
            raise ConfigInvalid(f"{where}.{key} is {value}; it must be above 0")

"""The kinds of agents that `[agents.ID]` in aorch.toml can declare, and how their tables become agents.

To add a kind, write its module (see `agent_kind.py`) and add a line to `MODULES`.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aorch.agents.base import Agent, AgentCapability
from aorch.config.settings import Config
from aorch.config.shape import convert, of
from aorch.errors import ConfigInvalid, UsageError

if TYPE_CHECKING:
    from aorch.agents.agent_kind import AddRequest, AgentConfig, AgentKind

MODULES = {
    "class": "aorch.agents.python_agent",
    "command": "aorch.agents.program",
    "url": "aorch.agents.http_endpoint",
    "llm": "aorch.agents.model",
    "mcp": "aorch.agents.mcp_agent",
}
"""Each kind's module, by the key of `[agents.ID]` that selects it. `KIND` in the module is the AgentKind.

A module is imported only if an agent of its kind is configured, so unused kinds do not slow down start-up.
"""


def kind_of(key: str) -> "AgentKind[Any]":
    """The kind that `key` selects."""
    kind: AgentKind[Any] = import_module(MODULES[key]).KIND
    return kind


def all_kinds() -> "list[AgentKind[Any]]":
    """Every kind. This imports the modules of all of them."""
    return [kind_of(key) for key in MODULES]


def configured(config: Config) -> Iterator[Agent]:
    """Each agent of the configuration, in the order of the file. Raises ConfigInvalid for an invalid table. If a table
    is valid but its agent cannot be created, it becomes a BrokenAgent.
    """
    tables = {agent_id: decode(config.file, agent_id, table) for agent_id, table in config.agents.items()}
    secrets = frozenset(name for kind, table in tables.values() for name in kind.secrets(table)) | config.secrets()
    for agent_id, (kind, table) in tables.items():
        agent = kind.make(agent_id, table, config, secrets)
        table.apply(agent)
        yield agent


def declared_capabilities(config: Config) -> dict[str, list[AgentCapability]]:
    """By agent ID, the capabilities that the tables declare. Creates no agents. Raises ConfigInvalid."""
    decoded = ((agent_id, *decode(config.file, agent_id, table)) for agent_id, table in config.agents.items())
    return {
        agent_id: found for agent_id, kind, table in decoded if (found := kind.capabilities_in(agent_id, table, config))
    }


def check(config: Config) -> None:
    """Raise ConfigInvalid if a table of `[agents.*]` is invalid. Creates no agents."""
    for agent_id, table in config.agents.items():
        decode(config.file, agent_id, table)


def decode(file: Path | None, agent_id: str, table: Any) -> "tuple[AgentKind[Any], AgentConfig]":
    """The kind and the content of `[agents.<agent_id>]` in `file`. Raises ConfigInvalid, which names the key and the reason."""
    from aorch.agents.agent_kind import check_positive  # noqa: PLC0415  1.4 ms, only if there are agents

    where = f"agents.{agent_id}"
    if not isinstance(table, dict):
        raise ConfigInvalid(f"{of(file)}{where} is not a table", f"Write [{where}].")
    kind = _selected(f"{of(file)}{where}", table)
    known = _keys(kind)
    for key in table:
        if key not in known:
            _reject_foreign(f"{of(file)}{where}.{key}", key, kind)
    if "capabilities" in known and isinstance(table.get("capabilities"), dict):
        for name, capability in table["capabilities"].items():
            convert(file, f"{where}.capabilities.{name}", capability, kind.capability)
            if not name:
                raise ConfigInvalid(f"{of(file)}{where} has a capability without a name")
    decoded = convert(file, where, table, kind.config)
    check_positive(f"{of(file)}{where}", decoded, "timeout_s", "idle_timeout_s", "concurrency", "rate_per_min")
    kind.check(f"{of(file)}{where}", decoded)
    return kind, decoded


def requested(request: "AddRequest") -> "AgentKind[Any]":
    """The kind that the command line of `aorch agents add` selects. Raises UsageError."""
    kinds = all_kinds()
    found = [kind for kind in kinds if kind.is_requested(request)]
    if any(kind.takes_words for kind in found):
        found = [kind for kind in found if kind.takes_words or kind.key in request.options]
    if len(found) == 1:
        return found[0]
    examples = "\n".join(["Examples:", *(f"  {kind.example}" for kind in kinds)])
    if found:
        raise UsageError(f"an agent cannot be both {' and '.join(kind.title for kind in found)}", examples)
    raise UsageError("the command line does not select the kind of agent to add", examples)


def _selected(where: str, table: dict[str, Any]) -> "AgentKind[Any]":
    keys = [key for key in MODULES if key in table]
    if len(keys) == 1:
        return kind_of(keys[0])
    *most, last = (f"`{key}`" for key in MODULES)
    known = f"{', '.join(most)} or {last}"
    if keys:
        both = " and ".join(f"`{key}`" for key in keys)
        raise ConfigInvalid(f"{where} has {both}, which select different kinds of agents", "Keep one of them.")
    raise ConfigInvalid(f"{where} has no key that selects the kind of agent", f"Add {known}.")


def _reject_foreign(where: str, key: str, kind: "AgentKind[Any]") -> None:
    """Raise ConfigInvalid if `key` belongs to another kind; an unknown key is rejected when the table is converted."""
    for other in all_kinds():
        if key in _keys(other):
            raise ConfigInvalid(
                f"{where}: {kind.title} (`{kind.key}`) does not have this key; {other.title} (`{other.key}`) does",
                f"Remove `{key}`, or replace `{kind.key}` with `{other.key}`.",
            )


def _keys(kind: "AgentKind[Any]") -> set[str]:
    """The keys of the kind's tables, as aorch.toml has them."""
    return set(kind.config.__struct_encode_fields__)

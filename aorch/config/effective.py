"""The settings for `aorch config show`, each with its source."""

import tomllib
from typing import Any, NamedTuple

from aorch.config import config_file, environment, sections
from aorch.config.settings import Config

DEFAULT = "default"


class Setting(NamedTuple):
    """A setting. `source` is "default", the path of aorch.toml, or the name of an environment variable."""

    key: str
    value: Any
    source: str


def effective(config: Config) -> list[Setting]:
    """The settings of `config`.

    They contain no secrets: URLs have no passwords, and API keys are given as names of environment variables.
    """
    written = tomllib.loads(config_file.read(config.file)) if config.file else {}
    found = []
    for key in sections.all_keys():
        if key.table == "llm" and config.llm is None:
            continue
        in_file = key.name in (written.get(key.table, {}) if key.table else written)
        source = str(config.file) if in_file else DEFAULT
        if key.variable and environment.get(key.variable):
            source = key.variable
        found.append(Setting(key.path, _value(config, key), source))
    memagent = environment.MEMAGENT if environment.get(environment.MEMAGENT) else DEFAULT
    return [*found, Setting("memagent_url", config.memagent_url or "off", memagent)]


def _value(config: Config, key: sections.Key) -> Any:
    if key.path == "ledger":
        return str(config.ledger)
    if key.path == "trace.url":
        return config.trace_url or "off"
    value = getattr(getattr(config, key.table) if key.table else config, key.name)
    return "" if value is None else value

"""Whether a command uses a server instead of a ledger file, and which one.

`--server` and `--ledger` come first, then AORCH_URL, AORCH_LEDGER, and `url` in [remote] of aorch.toml.
"""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from aorch.config import config_file, environment
from aorch.config.sections import RemoteConfig
from aorch.config.shape import convert, syntax_error
from aorch.errors import UsageError

OPTION = "--server"


class RemoteChoice(NamedTuple):
    """The server to use: its URL, or the name that the user gave it, and the option, variable or key that chose it.

    `settings` are those of [remote] in aorch.toml if they are for this server; `file` is that aorch.toml.
    """

    name: str
    source: str
    settings: RemoteConfig = RemoteConfig()
    file: Path | None = None

    @property
    def is_explicit(self) -> bool:
        """Whether the user chose the server, not an aorch.toml, which may belong to a project."""
        return self.source in (OPTION, environment.URL)


def choose(
    ledger: str | Path | None,
    server: str | None,
    text_in_use: Callable[[], tuple[Path | None, str]] = config_file.text_in_use,
) -> RemoteChoice | None:
    """The server to use; None for a ledger file. `ledger` and `server` are the options.

    Raises UsageError for both options, and ConfigInvalid for an invalid aorch.toml, which is read only if neither an option nor
    AORCH_LEDGER decides.
    """
    if server is not None and ledger is not None:
        raise UsageError("--server cannot be combined with --ledger", "Give one of them.")
    if server == "":
        raise UsageError("--server: the URL is empty", "Give a URL or a name of `aorch login`, or omit the option.")
    if ledger is not None:
        return None
    name, source = (server, OPTION) if server else (environment.get(environment.URL), environment.URL)
    if not name and environment.get(environment.LEDGER):
        return None
    file, text = text_in_use()
    if file is not None and "remote" in text:  # otherwise the file is not parsed twice for a command on a ledger file
        settings = _in_file(file, text)
    else:
        settings, file = RemoteConfig(), None
    if name:
        for_it = settings if settings.url in ("", name) else RemoteConfig()
        return RemoteChoice(name, source, for_it, file)
    return RemoteChoice(settings.url, f"{file}: remote.url", settings, file) if settings.url else None


def _in_file(path: Path, text: str) -> RemoteConfig:
    """[remote] of that aorch.toml; the defaults if it has no such table."""
    try:
        table: Any = tomllib.loads(text).get("remote", {})
    except tomllib.TOMLDecodeError as error:
        raise syntax_error(path, error) from error
    return convert(path, "remote", table, RemoteConfig)

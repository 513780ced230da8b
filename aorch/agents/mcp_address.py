"""Where an MCP server is: a program with its environment and directory, or a URL with its headers."""

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from aorch.agents.agent_hints import CONFIGURED, AgentHints
from aorch.config import config_file, environment
from aorch.net.outbound import OWNER, AddressPolicy


class ServerProgram(NamedTuple):
    """The words of its command line, the variables of its environment (`$NAME` is replaced), and its working directory. A message
    of it has at most `limit` bytes.
    """

    words: list[str]
    env: Mapping[str, str]
    cwd: Path
    limit: int

    def problem(self) -> str | None:
        """Why it cannot be started, or None."""
        if missing := environment.unset(self.env.values()):
            return f"its env refers to {', '.join(missing)}, which is not set"
        if not os.path.isdir(self.cwd):  # noqa: PTH112  Path.is_dir raises for a folder that may not be searched
            return f"its working directory {self.cwd} does not exist"
        if self.file() is None:
            return f"its program {self.words[0]!r} is not on PATH and not an executable file"
        return None

    def file(self) -> str | None:
        """The path of the program, or None if it does not exist."""
        program = self.words[0]
        if os.sep in program:
            program = str(self.cwd / Path(program).expanduser())
        return shutil.which(program, path=self.environment().get("PATH"))

    def environment(self) -> dict[str, str]:
        """Its environment: that of this process without the variables that seem to hold secrets, then `env`."""
        return environment.without_secrets(self.env)

    def public(self) -> str:
        """The command line, for lists."""
        return shlex.join(self.words)


class ServerUrl(NamedTuple):
    """A URL, and the headers of each request to it (`$NAME` is replaced). An event in its answers has at most `limit` bytes.
    Requests go through the HTTP proxy at the URL `proxy`, if it is set; otherwise only to `addresses`. `hints` are those of its
    errors.
    """

    url: str
    headers: Mapping[str, str]
    limit: int
    proxy: str = ""
    addresses: AddressPolicy = OWNER
    hints: AgentHints = CONFIGURED

    def problem(self) -> str | None:
        """Why no request can be sent, or None."""
        if missing := environment.unset(self.headers.values()):
            return f"its headers refer to {', '.join(missing)}, which is not set"
        unfit = [name for name, value in self.expanded().items() if not environment.fits_header(value)]
        return f"its header {unfit[0]} contains characters that HTTP does not allow" if unfit else None

    def expanded(self) -> dict[str, str]:
        """The headers with their secrets. Use them only in a request."""
        return {name: environment.expanded(value).strip() for name, value in self.headers.items()}

    def public(self) -> str:
        """The URL without its query, for lists."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "…" if parts.query else "", ""))


Server = ServerProgram | ServerUrl


def working_directory(cwd: str | None, file: Path | None) -> Path:
    """`cwd` relative to the directory of aorch.toml, which is also the default. Raises UsageError."""
    base = file.parent if file else config_file.working_folder()
    return config_file.absolute(cwd, "cwd", base) if cwd else base

"""The environment variables of this process and of the programs that it starts. Only `aorch/config` reads the environment."""

import os
import re
from collections.abc import Iterable, Mapping

from aorch.config.ledger_location import LedgerLocation

CONFIG = "AORCH_CONFIG"
LEDGER = "AORCH_LEDGER"
URL = "AORCH_URL"
TOKEN = "AORCH_TOKEN"  # noqa: S105  a name
PARENT_ID = "AORCH_PARENT_ID"
SESSION_ID = "AORCH_SESSION_ID"
TRACE = "TRACE_URL"
MEMAGENT = "MEMAGENT_URL"
PORT = "ORCHESTRATOR_PORT"
VISUAL = "VISUAL"
EDITOR = "EDITOR"
CACHE_HOME = "XDG_CACHE_HOME"
COLUMNS = "COLUMNS"
PAGER = "PAGER"
LESS = "LESS"
NO_COLOR = "NO_COLOR"
TERM = "TERM"
DESCRIPTIONS = {
    CONFIG: "The aorch.toml to use, like `--config FILE`.",
    LEDGER: "The ledger file or the URL of a PostgreSQL database, like `--ledger`; overrides `ledger`.",
    URL: "The server to use instead of a ledger file, like `--server URL`; overrides `AORCH_LEDGER` and `remote.url`.",
    TOKEN: "The token for the server of `AORCH_URL` or `--server`; overrides a token of `aorch login`.",
    PORT: "The port of `aorch serve`; overrides `serve.port`.",
    TRACE: "The URL of Trace, or `off`; overrides `trace.url`.",
    MEMAGENT: "The URL of MemAgent, or `off` (default: http://localhost:8799).",
    PARENT_ID: "Set by aorch for the programs of agents: the REQUEST to which their own tasks belong.",
    SESSION_ID: "Set by aorch for the programs of agents: the session of their own tasks.",
    "XDG_CONFIG_HOME": "The directory of your own `aorch/aorch.toml` (default: ~/.config).",
    "XDG_DATA_HOME": "The directory of the default ledger, `aorch/ledger.db` (default: ~/.local/share).",
    CACHE_HOME: "The directory of the shell completion cache (default: ~/.cache).",
    VISUAL: "The editor of `aorch config edit`.",
    EDITOR: "The editor of `aorch config edit` if `VISUAL` is not set.",
    NO_COLOR: "If set, output has no colors.",
    TERM: "If `dumb`, output has no colors.",
    COLUMNS: "The width of tables on a terminal.",
    PAGER: "The pager of `aorch log` and `aorch sessions show` on a terminal (default: less); `cat` or an empty value: none.",
    LESS: "The options of less (default: FRX).",
}
"""The variables that aorch itself reads. Others are read only if the configuration names them."""
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|(\w+)|\{([^}]*)\})", re.ASCII)
"""`$NAME` or `${NAME}`; `$$` is a dollar."""
_SECRET = re.compile("token|key|secret|passw|credential", re.IGNORECASE)


get = os.environ.get
"""The value of a variable, None if it is not set."""


def put(name: str, value: str | None) -> None:
    """Set a variable of this process and of those that it starts, or remove it (None)."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def no_colors() -> bool:
    """Whether output must have no colors (https://no-color.org)."""
    return NO_COLOR in os.environ or os.environ.get(TERM) == "dumb"


def secret(name: str) -> str:
    """The stripped value of a variable, or "" if it is not set. Use it only in a request header."""
    return os.environ.get(name, "").strip()


def fits_header(value: str) -> bool:
    """Whether an HTTP header can have the value. (The errors of HTTP clients quote a value that it cannot have.)"""
    return value.isascii() and value.isprintable()


def is_secret_name(name: str) -> bool:
    """Whether a variable of that name probably holds a secret."""
    return _SECRET.search(name) is not None


def variables_of(values: Iterable[str]) -> list[str]:
    """The variables that these texts refer to, as `$NAME` or `${NAME}`."""
    found = (match for value in values for match in _VARIABLE.finditer(value) if not match["dollar"])
    return list(dict.fromkeys(match[2] or match[3] for match in found))


def secret_variables(added: Mapping[str, str]) -> list[str]:
    """The variables that these values refer to and that probably hold secrets, by their own name or by the one they get."""
    found = ((name, each) for name, value in added.items() for each in variables_of((value,)))
    return [each for name, each in found if is_secret_name(name) or is_secret_name(each)]


def unset(values: Iterable[str]) -> list[str]:
    """The variables that these texts refer to and that are not set."""
    return [name for name in variables_of(values) if name not in os.environ]


def expanded(value: str) -> str:
    """`value` with its variables replaced; one that is not set stays as it is written."""

    def of(match: re.Match[str]) -> str:
        return "$" if match["dollar"] else os.environ.get(match[2] or match[3], match[0])

    return _VARIABLE.sub(of, value)


def of_program(added: Mapping[str, str], hidden: frozenset[str], exchange: Mapping[str, str]) -> dict[str, str]:
    """The environment of an agent's program: this process's own without `hidden`, then `added`, then the exchange's."""
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**inherited, **{name: expanded(value) for name, value in added.items()}, **exchange}


def of_pager() -> dict[str, str]:
    """The environment of a pager: less keeps colors, exits if the text fits on the screen, and leaves it there."""
    return {LESS: "FRX", **os.environ}


def without_secrets(added: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server that other people wrote: this process's own without variables that probably hold secrets,
    then `added`.
    """
    hidden = frozenset(name for name in os.environ if is_secret_name(name))
    return of_program(added, hidden, {})


def of_exchange(ledger: LedgerLocation | None, task_id: str, session_id: str) -> dict[str, str]:
    """The variables that make an `aorch` inside a program write to the same ledger and session, as a child of this
    exchange. (A server that the environment names would come before the ledger.) Without a ledger it uses the one that it would
    use in a shell, and the same session.
    """
    if ledger is None:
        return {SESSION_ID: session_id}
    return {LEDGER: str(ledger), URL: "", PARENT_ID: task_id, SESSION_ID: session_id}

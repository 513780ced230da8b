"""Which commands work on a server as on a ledger file, and why the others do not."""

from typing import Any

from aorch.cli.global_options import HIDDEN_SERVER, SERVER, server_option
from aorch.errors import UsageError

ON_SERVERS = frozenset(
    {
        *("run", "worker", "log", "rerun", "status", "stats", "compress"),
        *("memory list", "memory show", "memory search", "memory verify", "memory export"),
        *("memory pin", "memory note", "memory forget", "memory undo", "memory corrections"),
        *("sessions list", "sessions show", "queue list", "agents list", "agents show"),
        *(
            "contracts list",
            "contracts show",
            "contracts tail",
            "contracts export",
            "contracts wait",
            "contracts cancel",
            "contracts resume",
        ),
    }
)
"""The commands that work on a server."""
WITHOUT_LEDGER = frozenset({"init", "config", "plugins", "completion", "help", "login", "logout", "whoami"})
"""Commands that use neither a ledger nor agents."""
_FILES = "it reads or changes the stored ledger"
_AGENTS = "it works with the agents in the aorch.toml of this machine"
REASONS = {
    "ledger": _FILES,
    "query": "it executes SQL",
    "contracts import": "it writes many contracts in few transactions",
    "contracts erase": "it removes the bytes of the content",
    "contracts erasures": _FILES,
    "agents": _AGENTS,
    "serve": "it serves a ledger",
    "ui": "it opens the page of a server on this machine; open the URL of the server in a browser instead",
    "mcp": _AGENTS,
    "tokens": "only the owner of the ledger creates and revokes tokens",
    "trace": "the server delivers its contracts itself",
    "otel": "the server exports its spans itself",
}
"""Why other commands need the ledger itself, by command or group."""


def server_options(group: str, name: str) -> list[Any]:
    """The option `--server` of a command; hidden if the command cannot use a server."""
    if group in WITHOUT_LEDGER:
        return [SERVER] if group == "whoami" else []
    full_name = name if name == group else f"{group} {name}"
    return [SERVER if full_name in ON_SERVERS else HIDDEN_SERVER]


def require_ledger_file(ctx: Any) -> None:
    """Raise UsageError if a server is chosen. The command of `ctx` needs the ledger itself."""
    path, ledger = [ctx.command.name], ctx.params.get("ledger")
    has_option = "ledger" in ctx.params
    while (ctx := ctx.parent) is not None and ctx.parent is not None:
        path.insert(0, ctx.command.name)
    group, name = path[0], " ".join(path)
    from aorch.config.remote_choice import choose

    choice = choose(ledger, server_option.get())
    if choice is not None:
        reason = REASONS.get(name) or REASONS.get(group, _FILES)
        here = "or name a ledger with --ledger" if has_option else f"or unset {choice.source}"
        raise UsageError(
            f"`aorch {name}` needs the ledger itself, because {reason}; {choice.source} names the server {choice.name}",
            f"Run the command on the machine of the server, {here}.",
        )

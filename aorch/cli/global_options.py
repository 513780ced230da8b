"""`--config`, `--server` and `--no-color`, which commands have before and after their name."""

from contextvars import ContextVar
from typing import Any

from typer.core import TyperOption

CONFIG_HELP = "Read FILE instead of the aorch.toml of this directory or a parent directory."
NO_COLOR_HELP = "Print without colors (default: colors on a terminal, unless NO_COLOR is set)."
SERVER_HELP = "Use the ledger and the agents of the server at URL, or of a name of `aorch login` (default: AORCH_URL)."

CONFIG = TyperOption(param_decls=["--config"], type=str, metavar="FILE", help=CONFIG_HELP, is_eager=True)
NO_COLOR = TyperOption(param_decls=["--no-color"], is_flag=True, help=NO_COLOR_HELP, is_eager=True)
SERVER = TyperOption(param_decls=["--server"], type=str, metavar="URL", help=SERVER_HELP, is_eager=True)
VERSION = TyperOption(param_decls=["--version", "-V"], is_flag=True, help="Show the version and exit.", is_eager=True)
HIDDEN_SERVER = TyperOption(param_decls=["--server"], type=str, metavar="URL", hidden=True, is_eager=True)
"""For commands that work only on a ledger file, so that their error says why."""

json_errors: ContextVar[bool] = ContextVar("json_errors", default=False)
"""Whether `--json` is among the arguments of this command, so that its errors are printed as JSON, also those of arguments."""

server_option: ContextVar[str | None] = ContextVar("server_option", default=None)
"""The value of `--server`."""


def apply(ctx: Any) -> None:
    """Apply these options of the command of `ctx`, and remove them from its parameters.

    Sets AORCH_CONFIG to FILE, so that `config_file` and any `aorch` that an agent starts use it. Raises NotFound.
    """
    file, no_color = ctx.params.pop(CONFIG.name, None), ctx.params.pop(NO_COLOR.name, None)
    server = ctx.params.pop(SERVER.name, None)
    if server is not None or ctx.parent is None:
        server_option.set(server)
    if no_color or file is not None:
        from aorch.config import config_file, environment

        if no_color:
            environment.put(environment.NO_COLOR, "1")  # rich reads it too
        if file is not None:
            before = environment.get(environment.CONFIG)
            if not ctx.resilient_parsing:
                file = str(config_file.named_file(file))
            environment.put(environment.CONFIG, file)
            ctx.call_on_close(lambda: environment.put(environment.CONFIG, before))

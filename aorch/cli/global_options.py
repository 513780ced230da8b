"""`--config` and `--no-color`, which every command has, before and after its name."""

from typing import Any

from typer.core import TyperOption

CONFIG_HELP = "Read FILE instead of the aorch.toml of this directory or a parent directory."
NO_COLOR_HELP = "Print without colors (default: colors on a terminal, unless NO_COLOR is set)."

CONFIG = TyperOption(param_decls=["--config"], type=str, metavar="FILE", help=CONFIG_HELP, is_eager=True)
NO_COLOR = TyperOption(param_decls=["--no-color"], is_flag=True, help=NO_COLOR_HELP, is_eager=True)


def apply(ctx: Any) -> None:
    """Apply these options of the command of `ctx`, and remove them from its parameters.

    Sets AORCH_CONFIG to FILE, so that `config_file` and any `aorch` that an agent starts use it. Raises NotFound.
    """
    file, no_color = ctx.params.pop(CONFIG.name, None), ctx.params.pop(NO_COLOR.name, None)
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

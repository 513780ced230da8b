"""The Typer classes of aorch's commands: their help, aliases, and checks of all values."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from aorch.cli import global_options
from aorch.cli.argument_checks import check_all, check_follows
from aorch.cli.global_options import HIDDEN_SERVER
from aorch.cli.server_commands import require_ledger_file

ALIASES = {"ls": "list", "rm": "remove"}
"""Aliases of command names, used in every group that has the command. `--help` does not list them."""

DEFAULTS = {"queue": "list"}
"""The commands of groups that run without a command."""


class AorchCommand(TyperCommand):
    """A command with aorch's help, which checks values before it runs."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        from aorch.cli.help_page import help_text

        formatter.write(help_text(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments. Raises UsageError for a value that no command can use."""
        try:
            if any(each.startswith("-") for each in args) and not ctx.resilient_parsing:
                check_follows(self.get_params(ctx), args)
            left = super().parse_args(ctx, args)
        finally:  # also for the report of an error in the other options
            global_options.apply(ctx)
        if not ctx.resilient_parsing:
            if HIDDEN_SERVER in self.params:
                require_ledger_file(ctx)
            check_all(self.params, ctx.params)
        return left


class CommandGroup(TyperGroup):
    """A group of commands with aorch's help, whose commands can have aliases."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        from aorch.cli.help_page import help_text

        formatter.write(help_text(self, ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command with that name or alias, or None."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        """The name of each command, with its help."""
        return [(name, self.get_command(ctx, name).help or "") for name in self.list_commands(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command. Without a command, run that of DEFAULTS, or print the help and exit."""
        default = DEFAULTS.get(self.name or "")
        if default is not None and (not args or (args[0].startswith("-") and args[0] not in ("-h", "--help"))):
            args = [default, *args]
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            raise typer.Exit(2)
        if args and args[0].startswith("-") and not ctx.resilient_parsing:
            check_follows(self.get_params(ctx), args, before_command=True)
        return super().parse_args(ctx, args)


def leaves(command: Any) -> Iterator[Any]:
    """The commands in a group, at any depth; or the command itself if it is not a group."""
    for each in getattr(command, "commands", {}).values():
        yield from leaves(each)
    if not hasattr(command, "commands"):
        yield command

"""`aorch help`: show the help of a command."""

from typing import Annotated

import typer

from aorch.cli.shell_completion import complete_commands

app = typer.Typer(add_completion=False)


@app.command("help")
def help_(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]...",
            autocompletion=complete_commands,
            help="Command and subcommand (default: aorch itself).",
        ),
    ] = None,
) -> None:
    """Show the help of a command.

    \b
    Examples:
      aorch help run
      aorch help contracts list
    """
    from aorch.errors import UsageError

    context = ctx.find_root()
    for word in words or ():
        group = context.command
        found = group.get_command(context, word) if hasattr(group, "get_command") else None
        if found is None:
            raise UsageError(
                f"no such command {' '.join(words or ())!r}", f"`{context.command_path} --help` lists the commands."
            )
        context = typer.Context(found, info_name=word, parent=context)
    typer.echo(context.get_help())

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
            help="Command and subcommand (default: aorch itself); with --docs, a page.",
        ),
    ] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Show a page of the documentation, or list the pages.")] = False,
) -> None:
    """Show the help of a command, or a page of the documentation.

    \b
    Examples:
      aorch help run
      aorch help contracts list
      aorch help --docs
      aorch help --docs agents
    """
    from aorch.errors import UsageError

    if docs:
        return _show_pages(words or [])
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


def _show_pages(names: list[str]) -> None:
    from aorch.cli import documentation
    from aorch.cli.render.console import print_table
    from aorch.cli.render.pager import paged, pager_command

    if not names:
        return print_table(("page", "title"), documentation.pages())
    texts = [documentation.text_of(name) for name in names]
    with paged(pager_command()) as write:
        write("\n".join(texts))

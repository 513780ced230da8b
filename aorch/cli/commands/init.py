"""`aorch init`: create an aorch.toml."""

import typer

app = typer.Typer(add_completion=False)


@app.command(epilog="Exit code: 0 created, 13 the file already exists.")
def init() -> None:
    """Create an aorch.toml in the working directory, with every setting commented out.

    \b
    Example:
      aorch init
    """
    from aorch.cli.render.console import note, print_text, printable
    from aorch.config import config_file, starter_file

    hidden = config_file.search()
    file = starter_file.create()
    print_text(f"created: {printable(str(file))}")
    if hidden is not None:
        note(f"in this directory it replaces {hidden}")

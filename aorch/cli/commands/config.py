"""`aorch config`: the settings, and the aorch.toml that they come from."""

from pathlib import Path
from typing import Annotated

import typer

from aorch.cli.options import JsonOption, LedgerOption

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show, find, edit and trust aorch.toml.")


@app.command()
def show(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Show every setting with its value and its source: an environment variable, aorch.toml or the default.

    Secrets are not shown: settings only name the environment variables that hold them.

    \b
    Examples:
      aorch config show
      aorch config show --json
    """
    from aorch.cli.render.console import print_json, print_table
    from aorch.config import settings
    from aorch.config.effective import effective
    from aorch.jsonio import encode

    config = settings.load(ledger)
    found = [
        each._replace(source="--ledger") if each.key == "ledger" and ledger else each for each in effective(config)
    ]
    if json:
        return print_json(
            {
                "file": str(config.file) if config.file else None,
                "settings": [each._asdict() for each in found],
                "agents": list(config.agents),
                "pipelines": list(config.pipelines),
            }
        )
    rows = [(key, value if isinstance(value, str) else encode(value), source) for key, value, source in found]
    print_table(("key", "value", "source"), rows, cut="source")


@app.command(epilog="Exit code: 0 found, 2 the file cannot be used, 12 no aorch.toml found.")
def path() -> None:
    """Print the path of the aorch.toml in use.

    \b
    Example:
      aorch config path
    """
    from aorch.cli.render.console import print_text
    from aorch.config import config_file

    print_text(str(config_file.in_use()))


@app.command(epilog="Exit code: 0 the file is valid, 2 the file is invalid, 12 no aorch.toml found.")
def edit() -> None:
    """Open the aorch.toml in use in your editor ($VISUAL, $EDITOR or vi), and check it afterwards.

    \b
    Example:
      aorch config edit
    """
    from aorch.agents import kinds
    from aorch.cli.render.console import print_text, printable
    from aorch.config import config_file, editor, settings

    file = config_file.in_use()
    editor.edit(file)
    kinds.check(settings.load())
    print_text(f"valid: {printable(str(file))}")


@app.command(epilog="Exit code: 0 trusted, 2 the path cannot be stored, 12 no such file.")
def trust(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="File to trust (default: the aorch.toml of this or a parent directory)."),
    ] = None,
) -> None:
    """Trust an aorch.toml that belongs to another user.

    Its agents then run with your permissions. By default, aorch rejects an aorch.toml in this or a parent directory that
    belongs to a user other than you or root. A file passed with --config is always accepted. Trusted paths are listed, one
    per line, in `trusted` in your configuration directory; delete a line to stop trusting its file.

    \b
    Examples:
      aorch config trust
      aorch config trust team/aorch.toml
    """
    from aorch.cli.render.console import print_text, printable
    from aorch.config import config_file

    print_text(f"trusted: {printable(str(config_file.trust(file)))}")

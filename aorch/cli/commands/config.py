"""`aorch config`: which aorch.toml may be used."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Trust an aorch.toml that belongs to another user.")


@app.callback()
def _group() -> None:
    pass


@app.command(epilog="Exit code: 0 trusted, 2 it cannot be remembered, 12 no such file.")
def trust(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The file (default: the aorch.toml found here).")
    ] = None,
) -> None:
    """Trust an aorch.toml that belongs to another user.

    Its agents then run as you. aorch rejects an aorch.toml that it found in this or a parent directory and that belongs to
    another user than you or root. A file that --config names needs no trust. Trusted paths are listed, one a line, in `trusted`
    in your configuration directory; delete a line to end the trust.

    \b
    Examples:
      aorch config trust
      aorch config trust team/aorch.toml
    """
    from aorch.cli.render.console import print_text, printable
    from aorch.config import config_file

    print_text(f"trusted: {printable(str(config_file.trust(file)))}")

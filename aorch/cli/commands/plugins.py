"""`aorch plugins`: packages that agents need, or that offer agents."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from aorch.cli.listing import ListingOptions, print_listing

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Install and list packages with agents.")


@app.command(epilog="Exit code: 0 installed, 1 the installer failed, 2 invalid package.")
def install(
    packages: Annotated[
        list[str], typer.Argument(metavar="PACKAGE...", help="Package: a name, a URL, a wheel or a directory.")
    ],
) -> None:
    """Install packages into the environment in which aorch runs.

    Use it for packages that offer agents, and for packages that the classes in aorch.toml import. If aorch is a uv tool or was
    installed with pipx, an upgrade keeps them.

    \b
    Examples:
      aorch plugins install some-package
      aorch plugins install ./my-agents pandas
    """
    from aorch.agents import plugins
    from aorch.cli.render.console import print_text, printable

    plugins.install(packages)
    print_text(f"installed: {printable(', '.join(packages))}")


class PluginListing(ListingOptions):
    """A listing of packages."""

    items = "plugins"
    known = ("package", "version", "agents")


@app.command("list")
def list_(listing: PluginListing) -> None:
    """List the installed packages that offer agents.

    \b
    Example:
      aorch plugins list
    """
    from aorch.agents import plugins

    print_listing(listing, [plugin._asdict() for plugin in plugins.installed()], _show_table)


def _show_table(found: Iterable[dict[str, Any]]) -> None:
    from aorch.cli.render.console import print_table

    print_table(
        ("package", "version", "agents"),
        [(plugin["package"], plugin["version"], ", ".join(plugin["agents"])) for plugin in found],
        cut="agents",
    )

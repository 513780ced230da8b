"""`aorch logout`: remove the stored token for a server."""

from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def logout(
    name: Annotated[
        str, typer.Argument(metavar="URL|NAME", help="The server, or the name that it has in `aorch login`.")
    ],
) -> None:
    """Remove the stored token for a server. The token stays valid: `aorch tokens revoke` on the server ends it.

    \b
    Example:
      aorch logout prod
    """
    from aorch.cli.render.console import print_text
    from aorch.client.server_address import server_url
    from aorch.config import server_logins
    from aorch.errors import NotFound

    removed = server_logins.remove(server_url("URL", name) if "://" in name else name)
    if removed is None:
        known = ", ".join(each.name for each in server_logins.logins()) or "none"
        raise NotFound(f"no login for {name!r}", f"Known names: {known}.")
    print_text(f"logged out of {removed.url} ({removed.name})")

"""`aorch login`: check and store the token for a server."""

from typing import Annotated

import typer

from aorch.cli.options import JsonOption

app = typer.Typer(add_completion=False)


@app.command()
def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of the server.")],
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="NAME", help="Name for the server, for --server and AORCH_URL (default: its host)."
        ),
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option("--ca-file", metavar="FILE", help="Certificates to trust, in PEM format (default: the system's)."),
    ] = None,
    proxy: Annotated[
        str, typer.Option("--proxy", metavar="URL", help="HTTP proxy for this server (default: none).")
    ] = "",
    allow_http: Annotated[
        bool, typer.Option("--allow-http", help="Allow to send the token over plain http to another machine.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check a token for a server, and store it for commands with --server or AORCH_URL.

    The token is read from a prompt, or from standard input in a pipe, never from the command line. It is stored in the system
    keyring if the package `keyring` is installed, otherwise in a file that only you can read, and sent only to this server.

    \b
    Examples:
      aorch login https://aorch.example --profile prod
      aorch login https://aorch.example --profile prod < token.txt
    """
    from aorch.cli.render.console import print_json, print_text, tell
    from aorch.cli.server_login import log_in

    account, where, name = log_in(url, profile, ca_file, proxy, allow_http=allow_http)
    if json:
        return print_json({**account.as_dict(), "profile": name, "stored_in": where})
    who = f" as {account.name}" if account.name else " without a token, because it needs none"
    print_text(f"logged in to {account.url}{who} (scopes: {', '.join(account.scopes)})")
    tell(f"stored in {where}; use it with --server {name}, or set AORCH_URL={account.url}")

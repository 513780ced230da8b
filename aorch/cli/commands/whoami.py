"""`aorch whoami`: the server that commands use, and what the token may do there."""

import typer

from aorch.cli.options import JsonOption

app = typer.Typer(add_completion=False)


@app.command()
def whoami(json: JsonOption = False) -> None:
    """Show which server commands use, as whom, and what the token allows. Exit code 4: the token is not valid.

    \b
    Example:
      aorch whoami --server prod
    """
    import asyncio

    from aorch.cli.ledger_source import chosen_server, warn_of_version
    from aorch.cli.render.console import print_json, print_lines
    from aorch.client.server_account import account_of
    from aorch.config import server_logins
    from aorch.errors import UsageError
    from aorch.version import VERSION

    server = chosen_server(None)
    if server is None:
        known = ", ".join(f"{each.name} ({each.url})" for each in server_logins.logins()) or "none"
        raise UsageError(
            "commands use a ledger here, not a server",
            f"Choose a server with --server URL, AORCH_URL or [remote] of aorch.toml. Logins: {known}.",
        )
    account = asyncio.run(account_of(server))
    warn_of_version(account.version)
    account.check()
    if json:
        return print_json({**account.as_dict(), "client_version": VERSION})
    name = account.name or (
        "a token without a name" if account.token_required else "nobody (the server needs no token)"
    )
    print_lines(
        [
            f"server   {account.url}",
            f"caller   {name}",
            f"scopes   {', '.join(account.scopes)}",
            f"version  {account.version} (this is {VERSION})",
        ]
    )

"""`aorch tokens`: what callers of the API show to be let in."""

from enum import StrEnum
from typing import Annotated

import typer

from aorch.cli.options import IS_CREATED, JsonOption, LedgerOption, complete_agents, warn_of_missing
from aorch.cli.time_options import AHEAD_HELP

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Make and revoke the tokens that callers of the API show."
)

Scope = StrEnum("Scope", ["read", "run", "agents", "admin"])


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, or what for; it stands in their contracts.")],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            "--scope", case_sensitive=False, help="What it allows, several times; read and run where it is not given."
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            metavar="ID",
            help="Speak for this agent, and nobody else does.",
            autocompletion=complete_agents,
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help=f"Of no use from then on: {AHEAD_HELP}.")
    ] = None,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Make a token. It is shown this once and kept only as a hash.

    read: agents, contracts, sessions. run: have tasks done. agents: change agents. admin: all of it.
    A running server knows it within a second, and from the first token on lets nobody in without one.

    \b
    Examples:
      aorch tokens create ci --scope read --scope run --expires 30d
      aorch tokens create reviewer --scope read --scope run --agent code_reviewer
    """
    from aorch.cli.render.console import note, print_json, print_text
    from aorch.cli.time_options import ahead
    from aorch.config import settings
    from aorch.govern import access_tokens

    path = settings.load(ledger).ledger
    warn_of_missing(path, ledger, IS_CREATED)
    token, row = access_tokens.create(
        path,
        name,
        [str(each) for each in scope] if scope else access_tokens.DEFAULT_SCOPES,
        agent,
        ahead("--expires", expires) if expires else None,
    )
    if json:
        return print_json({"token": token, **row.as_dict()})
    print_text(token)
    note(f"It is not shown again. {name} sends it as `Authorization: Bearer …`.")


@app.command("list")
def list_(json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """List tokens: whose, what for, until when; never the tokens themselves.

    \b
    Examples:
      aorch tokens list
      aorch tokens list --json
    """
    from aorch.cli.render.console import print_json, print_table
    from aorch.config import settings
    from aorch.govern import access_tokens

    rows = access_tokens.list_all(settings.load(ledger).ledger)
    if json:
        return print_json({"tokens": [{**row.as_dict(), "state": access_tokens.state(row)} for row in rows]})
    print_table(
        ("token", "name", "scopes", "agent", "expires", "state"),
        [
            (
                row.token_id,
                row.name,
                ", ".join(row.scopes),
                row.agent_id or "",
                row.expires_at or "",
                access_tokens.state(row),
            )
            for row in rows
        ],
        cut="name",
        drop=("expires", "agent", "scopes"),
    )


@app.command()
def revoke(
    token: Annotated[
        str, typer.Argument(metavar="ID|NAME", help="The token's id or name; or one that leaked, itself.")
    ],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Revoke a token; a running server refuses it within a second.

    A server that is running goes on to let nobody in without a token, also when the last one is revoked.

    \b
    Example:
      aorch tokens revoke ci
    """
    from aorch.cli.render.console import print_json, print_text
    from aorch.config import settings
    from aorch.govern import access_tokens

    rows = access_tokens.revoke(settings.load(ledger).ledger, token)
    if json:
        return print_json({"tokens": [row.as_dict() for row in rows]})
    print_text("\n".join(f"{row.name} ({row.token_id}) revoked at {row.revoked_at}" for row in rows))

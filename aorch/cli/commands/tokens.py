"""`aorch tokens`: create, list and revoke API tokens."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer

from aorch.cli.listing import ListingOptions, print_listing
from aorch.cli.options import CREATES_NEW, JsonOption, LedgerOption, OptionGroup, warn_of_missing
from aorch.cli.shell_completion import complete_agents

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create, list and revoke API tokens.")

Scope = StrEnum("Scope", ["read", "run", "work", "agents", "admin"])


class TokenOptions(OptionGroup):
    """The scopes of a token."""

    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            case_sensitive=False,
            help="Scope of the token: read, run, work, agents or admin; repeat for several (default: read and run).",
        ),
    ] = None
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            "-a",
            metavar="ID",
            help="Bind the token to this agent: no other token can act as it.",
            autocompletion=complete_agents,
        ),
    ] = None
    capability: Annotated[
        list[str] | None,
        typer.Option(
            "--capability",
            "-c",
            metavar="NAME",
            help="Let a worker with this token claim only tasks of this capability; repeat for several (default: any).",
        ),
    ] = None
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="TIME",
            help="Time at which the token expires: 30d, '2 weeks', tomorrow, 2026-01-31T09:00:00Z (default: never).",
        ),
    ] = None


@app.command()
def create(
    options: TokenOptions,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Owner or purpose of the token; recorded in the contracts of its calls."),
    ],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Create a token. The token is shown only once; the ledger stores its hash.

    Scopes: read (agents, contracts, sessions), run (run tasks), work (claim queued tasks, for `aorch worker --server`), agents
    (manage agents), admin (all of these). A running server
    accepts the token within a second. As soon as one token exists, every caller needs one.

    \b
    Examples:
      aorch tokens create ci --scope read --scope run --expires 30d
      aorch tokens create reviewer --scope read --scope run --agent code_reviewer
      aorch tokens create gpu-worker --scope work --capability render
    """
    from aorch.cli.render.console import note, print_json, print_text
    from aorch.cli.time_options import expiry_time
    from aorch.config import settings
    from aorch.govern import access_tokens

    path = settings.load(ledger).ledger
    warn_of_missing(path, ledger, CREATES_NEW)
    token, row = access_tokens.create(
        path,
        name,
        [str(each) for each in options.scope] if options.scope else access_tokens.DEFAULT_SCOPES,
        options.agent,
        expiry_time("--expires", options.expires) if options.expires else None,
        options.capability,
    )
    if json:
        return print_json({"token": token, **row.as_dict()})
    print_text(token)
    note("The token is not shown again. Callers send it as `Authorization: Bearer TOKEN`.")


class TokenListing(ListingOptions):
    """A listing of tokens."""

    items = "tokens"
    known = (
        *("token_id", "name", "scopes", "agent_id", "created_at", "expires_at", "revoked_at"),
        *("capabilities", "state"),
    )


@app.command("list")
def list_(listing: TokenListing, ledger: LedgerOption = None) -> None:
    """List tokens with name, scopes and expiry; the tokens themselves are not stored.

    \b
    Examples:
      aorch tokens list
      aorch tokens list --json
    """
    from aorch.config import settings
    from aorch.govern import access_tokens

    rows = access_tokens.list_all(settings.load(ledger).ledger)
    print_listing(listing, [{**row.as_dict(), "state": access_tokens.state(row)} for row in rows], _show_table)


def _show_table(tokens: "Iterable[dict[str, Any]]") -> None:
    from aorch.cli.render.console import print_table
    from aorch.cli.render.times import shown_time

    print_table(
        ("token", "name", "scopes", "agent", "expires", "state"),
        [
            (
                each["token_id"],
                each["name"],
                ", ".join(each["scopes"]),
                each["agent_id"] or "",
                shown_time(each["expires_at"] or ""),
                each["state"],
            )
            for each in tokens
        ],
        cut="name",
        drop=("expires", "agent", "scopes"),
    )


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID|NAME", help="ID or name of the token, or the token itself.")],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Revoke a token; a running server rejects it within a second.

    A running server keeps requiring a token even after the last one is revoked.

    \b
    Example:
      aorch tokens revoke ci
    """
    from aorch.cli.render.console import print_json, print_text
    from aorch.cli.render.times import shown_time
    from aorch.config import settings
    from aorch.govern import access_tokens

    rows = access_tokens.revoke(settings.load(ledger).ledger, token)
    if json:
        return print_json({"tokens": [row.as_dict() for row in rows]})
    print_text("\n".join(f"{row.name} ({row.token_id}) revoked at {shown_time(row.revoked_at or '')}" for row in rows))

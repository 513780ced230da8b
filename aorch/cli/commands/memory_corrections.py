"""The commands of `aorch memory` with which a person corrects it: pin, note, forget, undo, corrections."""

from typing import Annotated, Any

import typer

from aorch.cli.listing import ListingOptions, print_listing
from aorch.cli.options import JsonOption, LedgerOption
from aorch.cli.shell_completion import complete_sessions

app = typer.Typer(add_completion=False)

UNDONE = {"pin": "pin of", "note": "note", "forget": "forget of"}
"""How a correction that was undone is called, by its action."""

ClaimArgument = Annotated[
    str, typer.Argument(metavar="CLAIM", help="ID of a claim: clm_…, as `aorch memory show` and `search` print it.")
]


class CorrectionListing(ListingOptions):
    """A listing of corrections."""

    items = "corrections"
    known = (
        *("contract_id", "session_id", "action", "created_at", "by", "claim_id", "section", "text"),
        "contract_ids",
    )


@app.command()
def pin(claim: ClaimArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Keep a claim in every later prompt and memory block of its session, whatever the token limit.

    Pins and notes take up to three quarters of a prompt; longer ones are shortened.

    \b
    Examples:
      aorch memory pin clm_ab2cd3ef4g
      aorch memory undo clm_ab2cd3ef4g
    """
    from aorch.cli.corrections_target import open_corrections

    with open_corrections(ledger) as target:
        _tell("pinned", target.pin(claim), as_json=json)


@app.command()
def note(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Session.", autocompletion=complete_sessions)],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note, up to 500 characters.")],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Add a note of yours to the memory of a session. It is a claim that cites its own contract.

    \b
    Examples:
      aorch memory note incident-4711 'Ann agreed.'
    """
    from aorch.cli.corrections_target import open_corrections

    with open_corrections(ledger) as target:
        _tell("noted", target.note(session, text), as_json=json)


@app.command()
def forget(claim: ClaimArgument, json: JsonOption = False, ledger: LedgerOption = None) -> None:
    """Leave a claim, and later claims with the same words, out of the memory of its session.

    The contracts that it comes from stay in the ledger; `aorch contracts erase` removes their content.

    \b
    Examples:
      aorch memory forget clm_ab2cd3ef4g
      aorch memory undo clm_ab2cd3ef4g
    """
    from aorch.cli.corrections_target import open_corrections

    with open_corrections(ledger) as target:
        _tell("forgotten", target.forget(claim), as_json=json)


@app.command()
def undo(
    correction: Annotated[
        str, typer.Argument(metavar="ID", help="ID of a correction's contract, or of the claim that it is about.")
    ],
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Undo a pin, a note or a forgotten claim.

    If an older correction of the same claim applies again, it is printed too.

    \b
    Examples:
      aorch memory corrections
      aorch memory undo clm_ab2cd3ef4g
    """
    from aorch.cli.corrections_target import open_corrections
    from aorch.cli.render.console import print_text

    with open_corrections(ledger) as target:
        found = target.undo(correction)
        _tell(f"undone: {UNDONE[found['action']]}", found, as_json=json)
        if json or found["text"] is None:  # a token without the scope `read` cannot read what applies now
            return
        for older in target.corrections(found["session_id"]):
            if older["claim_id"] == found["claim_id"]:
                done = "forgotten" if older["action"] == "forget" else "pinned"
                print_text(f"{older['claim_id']} is {done} again ({older['contract_id']})")


@app.command()
def corrections(
    listing: CorrectionListing,
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="[SESSION]", help="Only this session (default: all sessions).", autocompletion=complete_sessions
        ),
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """List the pins, notes and forgotten claims that apply, by session, oldest first.

    In a pipe: tab-separated correction, time, session, action, claim ID, text.

    \b
    Examples:
      aorch memory corrections incident-4711
      aorch memory corrections --json
    """
    from aorch.cli.corrections_target import open_corrections
    from aorch.cli.render.console import note as remark
    from aorch.cli.render.memory_views import show_corrections

    with open_corrections(ledger) as target:
        found = target.corrections(session)
    print_listing(listing, found, show_corrections)
    if not found and listing.shows_table():
        remark("no corrections")


def _tell(what: str, form: dict[str, Any], *, as_json: bool) -> None:
    from aorch.cli.render.console import print_json, print_text, printable

    if as_json:
        return print_json(form)
    text = "" if form["text"] is None else f": {form['text']}"  # a token without the scope `read` gets no text
    print_text(printable(f"{what} {form['claim_id']} ({form['contract_id']}){text}"))

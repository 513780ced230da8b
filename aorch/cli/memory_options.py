"""Options of `aorch memory` and `aorch compress`, and which of those of `memory show` and `memory export` can be combined."""

from collections.abc import Iterator
from typing import Annotated

import typer

MAX_TOKENS = typer.Option(
    "--max-tokens",
    min=64,
    max=65_536,
    metavar="N",
    help="Maximum size in tokens of 4 characters, from 64 to 65536 (default: 512).",
)
MOST_TOKENS = 512
"""The default of --max-tokens."""
PromptTokensOption = Annotated[int | None, MAX_TOKENS]
"""--max-tokens of a command that prints prompts, or something without such a limit. None if it is not given."""
_NEXT = "Name a session or a memory block, or pass --session or --about."
_PROMPTS = "--session and --about print prompts."
_AS_JSON = "`aorch memory show --session SESSION --json` prints a prompt as JSON."
_LIMITED = "Only prompts have a limit: pass --as prompt"


def check_show(
    reference: str | None,
    form: str | None,
    *,
    sessions: list[str] | None,
    about: str | None,
    diff: bool,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Raise UsageError if options of `memory show` contradict each other. `form`: the value of --as, None if it is not given."""
    from aorch.errors import UsageError

    shared = "--session" if sessions else "--about" if about is not None else None
    if reference is None and shared is None:
        raise UsageError("missing session", _NEXT)
    for one, other, hint in _contradictions(reference, form, shared, diff=diff, as_json=as_json):
        raise UsageError(f"{one} cannot be combined with {other}", hint)
    if max_tokens is not None and form != "prompt" and not (shared or diff):
        raise UsageError("--max-tokens cannot be combined with --as text", f"{_LIMITED}, --session, --about or --diff.")


def _contradictions(
    reference: str | None, form: str | None, shared: str | None, *, diff: bool, as_json: bool
) -> Iterator[tuple[str, str, str]]:
    """Two options that contradict each other, and the next step."""
    if shared:
        if reference is not None:
            yield f"the argument {reference!r}", shared, _NEXT
        if diff:
            yield "--diff", shared, "--diff compares the blocks of one session: name it without an option."
        if form == "text":
            yield "--as text", shared, _PROMPTS
    elif diff and form == "prompt":
        yield "--diff", "--as prompt", "Give one of them."
    elif as_json and form is not None:
        yield f"--as {form}", "--json", _AS_JSON if form == "prompt" else "Give one of them."


def check_export(form: str, max_tokens: int | None) -> None:
    """Raise UsageError for a limit of something else than prompts."""
    from aorch.errors import UsageError

    if max_tokens is not None and form != "prompt":
        raise UsageError(f"--max-tokens cannot be combined with --as {form}", f"{_LIMITED}.")

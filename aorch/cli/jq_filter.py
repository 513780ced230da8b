"""`--jq EXPR`: a jq expression over the JSON of a listing, by the package `jq`."""

import re
from collections.abc import Iterator
from typing import Any

from aorch import jsonio
from aorch.errors import UsageError

INSTALL_HINT = "Install it: aorch plugins install jq (or: pip install 'aorch[jq]')."


class JqFilter:
    """A compiled jq expression. Raises UsageError if it is invalid, or if the package is not installed."""

    def __init__(self, expression: str) -> None:
        try:
            import jq  # type: ignore[import-not-found]  # a C extension without types
        except ImportError as error:
            raise UsageError("--jq needs the package `jq`, which is not installed", INSTALL_HINT) from error
        try:
            jq.compile(expression)
            # tojson keeps large integers, which become floats in Python
            self._program = jq.compile(f'({expression}\n) | if type == "string" then . else tojson end')
        except ValueError as error:
            raise UsageError(
                f"invalid --jq expression: {_reason(error)}", "The jq manual describes the language."
            ) from error

    def lines(self, value: Any) -> Iterator[str]:
        """The results for `value`: strings as they are, all others as one line of JSON.

        Raises UsageError with jq's reason if the expression fails for this value.
        """
        try:
            yield from self._program.input_text(jsonio.encode(value))
        except ValueError as error:
            raise UsageError(
                f"--jq failed: {_reason(error)}", "`--jsonl` without --jq shows the JSON to which it is applied."
            ) from error


def _reason(error: ValueError) -> str:
    """The first line of jq's message, without its prefix."""
    first = re.sub(r"^jq: error:?\s*", "", str(error).strip()).partition("\n")[0]
    return re.sub(r" at <top-level>(, line \d+, column \d+)?:?$", r"\1", first)

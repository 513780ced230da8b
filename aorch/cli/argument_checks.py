"""What is checked of every argument and option, whichever command has it."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

from aorch.errors import UsageError

MOST = 2**31 - 1
"""The largest whole number that an option takes: SQLite's own are 64 bits, and no count comes near."""
_PARAMETERS = "[KEY=VALUE]..."
"""The metavar of parameters, which `items` checks: bytes that are not UTF-8 may be in the name of a file there."""


def with_checks(command: Any) -> Callable[..., Any]:
    """`command`'s callback, which raises UsageError for a value that no command can use."""
    callback: Callable[..., Any] = command.callback
    named = {parameter.name: parameter for parameter in command.params}

    @wraps(callback)
    def checked(*given: Any, **values: Any) -> Any:
        for name, value in values.items():
            if name in named:
                for each in value if isinstance(value, list | tuple) else (value,):
                    check(named[name], each)
        return callback(*given, **values)

    return checked


def check(parameter: Any, value: object) -> None:
    """Raise UsageError for a value that no command can use."""
    option = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.human_readable_name
    if type(value) is str:
        is_file = "FILE" in (parameter.metavar or "")
        if not (is_file or parameter.metavar == _PARAMETERS or value.isascii() or _is_unicode(value)):
            raise UsageError(f"{option}: not valid UTF-8: {value!r}")
    elif type(value) is int:
        if abs(value) > MOST:
            raise UsageError(f"{option}: {value} is too large (at most {MOST:,})")
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{option}: {value} is not a number of seconds")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

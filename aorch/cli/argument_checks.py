"""Checks of the values of all arguments and options."""

import math
from typing import Any

from aorch.errors import UsageError

LARGEST = 2**31 - 1
"""The largest integer that an option accepts."""
_PARAMETERS = "[KEY=VALUE]..."
"""The metavar of KEY=VALUE parameters.

They are not checked here, because a file name in them may be any bytes (see `parameters_cli`).
"""


def check_all(parameters: list[Any], values: dict[str, Any]) -> None:
    """Raise UsageError if any of `values` (by parameter name) is a value that no command can use."""
    for parameter in parameters:
        value = values.get(parameter.name)
        for each in value if isinstance(value, list | tuple) else (value,):
            if each is not None and type(each) is not bool and not (type(each) is str and each.isascii()):
                check(parameter, each)


def check_follows(parameters: list[Any], arguments: list[str], *, before_command: bool = False) -> None:
    """Raise UsageError for an option without a value before another option, which the parser would take for the value.

    With `before_command`, only for those before the first argument that is no option.
    """
    options = {name: each for each in parameters for name in (*each.opts, *each.secondary_opts) if name.startswith("-")}
    left = iter(arguments)
    for argument in left:
        if argument == "--" or (before_command and not argument.startswith("-")):
            return
        option = options.get(argument)
        if option is None or option.is_flag or option.count:
            continue
        if (value := next(left, None)) in options:
            raise UsageError(
                f"{argument} needs a value ({option.metavar or 'VALUE'}), but the option {value} follows",
                f"Write the value after it, or {max(option.opts, key=len)}={value} if that is the value.",
            )


def check(parameter: Any, value: object) -> None:
    """Raise UsageError for a value that no command can use."""
    problem = ""
    if isinstance(value, str):
        if "FILE" not in (parameter.metavar or "") and parameter.metavar != _PARAMETERS and not _is_unicode(value):
            problem = f"not valid UTF-8: {value!r}"
    elif type(value) is int:
        if abs(value) > LARGEST:
            problem = f"{value} is too large (at most {LARGEST:,})"
    elif isinstance(value, float) and not math.isfinite(value):
        problem = f"{value} is not a number of seconds"
    if problem:
        option = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.human_readable_name
        raise UsageError(f"{option}: {problem}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

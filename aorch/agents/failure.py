"""What an exception of an agent's own code says, in one line that every database takes."""

import traceback
from pathlib import Path
from typing import Any

from aorch import jsonio


def described(error: BaseException) -> str:
    """`ValueError: reason (my_agents.py, line 12)`: enough to find it, without a stack trace that may hold secrets."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return jsonio.storable_text(f"{type(error).__name__}: {text_of(error)}{place}")


def text_of(reason: Any) -> str:
    """`str(reason)`, whatever that is."""
    try:
        return jsonio.storable_text(str(reason))
    except Exception as error:  # noqa: BLE001  a stranger's `__str__` may raise anything
        return f"({type(reason).__name__} whose text could not be made: {type(error).__name__})"

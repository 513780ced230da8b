"""The text of an exception of an agent's own code, in one line that every database accepts."""

import traceback
from pathlib import Path
from typing import Any

from aorch import jsonio


def described(error: BaseException) -> str:
    """`ValueError: reason (my_agents.py, line 12)`: enough to find it, without a stack trace, which may contain secrets."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return jsonio.storable_text(f"{type(error).__name__}: {text_of(error)}{place}")


def text_of(reason: Any) -> str:
    """`str(reason)` for any object."""
    try:
        return jsonio.storable_text(str(reason))
    except Exception as error:  # noqa: BLE001  the `__str__` of an agent's own class
        return f"({type(reason).__name__}, whose __str__ raised {type(error).__name__})"

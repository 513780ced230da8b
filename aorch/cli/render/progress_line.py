"""The progress of one task, in a line on standard error that disappears when the task ends."""

import sys
from typing import Any

from aorch import jsonio
from aorch.cli.render.console import printable, width


class ProgressLine:
    """Shows what the agent of a task reports, at a terminal."""

    def __init__(self) -> None:
        self._text = ""
        self._is_shown = False

    def show(self, progress: Any) -> None:
        """Show `progress` instead of the previous one; a model's `{"text": …}` is added to the text so far."""
        said = self._described(progress)
        room = max(10, width() - 1)
        shown = said if len(said) <= room else f"…{said[1 - room :]}"
        self._is_shown = True
        print(f"\r\033[2K\033[2m{shown}\033[0m", end="", file=sys.stderr, flush=True)

    def clear(self, _: object = None) -> None:
        """Remove the line. Also a callback of the task's future."""
        if self._is_shown:
            self._is_shown = False
            print("\r\033[2K", end="", file=sys.stderr, flush=True)

    def _described(self, progress: Any) -> str:
        if isinstance(progress, dict):
            if isinstance(progress.get("text"), str):
                self._text = (self._text + progress["text"])[-1000:]
                return printable(" ".join(self._text.split()))
            if isinstance(progress.get("waiting_s"), int | float):
                return printable(f"next attempt in {progress['waiting_s']:g} s: {progress.get('error')}")
            done, total = progress.get("done"), progress.get("total")
            if isinstance(done, int | float) and isinstance(total, int | float):
                return f"{done:g}/{total:g}"
        return printable(progress if isinstance(progress, str) else jsonio.encode(progress))

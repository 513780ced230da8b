"""The user's text editor."""

import shlex
import subprocess
from pathlib import Path

from aorch.config import environment
from aorch.errors import AorchError, UsageError


def edit(file: Path) -> None:
    """Open `file` in $VISUAL, $EDITOR or vi, and wait until the editor exits. Raises UsageError or AorchError."""
    chosen = environment.get(environment.VISUAL) or environment.get(environment.EDITOR) or "vi"
    try:
        command = [*shlex.split(chosen), str(file)]
    except ValueError as error:
        raise UsageError(f"cannot read the editor {chosen!r}: {error}", "Set VISUAL or EDITOR to a command.") from error
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise UsageError(
            f"cannot start the editor {command[0]!r}: {error.strerror}", "Set VISUAL or EDITOR to another one."
        ) from error
    if code:
        raise AorchError(
            f"the editor {command[0]!r} exited with code {code}", "The file was not checked; edit it again."
        )

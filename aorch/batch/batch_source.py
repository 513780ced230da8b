"""The sources of the lines of a batch: a file, standard input, or the unfinished tasks of a session."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from aorch import jsonio
from aorch.agents.registry import Registry
from aorch.batch.batch_history import BatchHistory, latest_generation, start_batch, unfinished_lines
from aorch.batch.batch_line import Line
from aorch.batch.columns import ColumnTemplates
from aorch.batch.lines import Defaults, LineParser
from aorch.config import config_file
from aorch.config.ledger_location import LedgerLocation
from aorch.engine.task import named_session
from aorch.errors import NotFound, UsageError
from aorch.ids import new_id
from aorch.ledger.batch_register import BatchReader
from aorch.ledger.database import Database
from aorch.ledger.ledger import Ledger
from aorch.ledger.task_keys import BatchLineKey


class LineSource(Protocol):
    """Lines to run. `size` is their bytes, None if unknown; `resumable` whether `--resume` can continue the batch."""

    size: int | None
    resumable: bool

    async def start(self, ledger: Ledger, registry: Registry) -> tuple[Iterator[list[Line]], BatchHistory | None]:
        """The lines, and the history of the batch if it can be resumed."""
        ...


class UnfinishedTasks:
    """The failed, cancelled and interrupted tasks of a session."""

    size: int | None = None
    resumable = False

    def __init__(self, session_id: str, timeout_s: float | None) -> None:
        self.session_id = session_id
        self.timeout_s = timeout_s

    async def start(self, ledger: Ledger, _: Registry) -> tuple[Iterator[list[Line]], BatchHistory | None]:
        """The lines."""
        return self._lines(ledger.path), None

    def _lines(self, path: LedgerLocation) -> Iterator[list[Line]]:
        with BatchReader(path) as recorded:
            for found in unfinished_lines(recorded, self.session_id, self.timeout_s):
                yield [each.line for each in found]


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """A file of lines (`-`: standard input), and defaults for the fields that a line does not set.

    `name` identifies the batch for `resume` (default: the path of the file). `items` are the parameters as the caller
    wrote them; if they are written differently, `resume` treats every line as new.
    """

    file: str
    capability: str | None = None
    items: list[str] | None = None
    templates: ColumnTemplates = field(default_factory=ColumnTemplates)
    parameters: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    session_id: str | None = None
    agent_id: str | None = None
    timeout_s: float | None = None
    require: dict[str, str] = field(default_factory=dict)
    csv: bool = False
    name: str | None = None
    resume: bool = False


class BatchFile:
    """The lines of a file. Construction opens it; raises NotFound, and UsageError if it cannot be read or resumed.

    `stdin` is the descriptor that `-` stands for. `name` is that of the batch; None if it cannot be resumed. `was_named`: the
    caller chose it. `resume`: the latest run of the batch is continued.
    """

    def __init__(self, request: BatchRequest, stdin: int) -> None:
        self._request = request
        self._descriptor, self.size = (os.dup(stdin), None) if request.file == "-" else _open(request.file)
        self.name = request.name or (_default_name(request.file) if self.size is not None else None)
        if request.resume and self.name is None:
            what = "standard input" if request.file == "-" else f"{request.file}, which is not a regular file"
            raise UsageError(f"--resume needs a name for a batch from {what}", "Add --batch-name NAME.")
        self.resumable = self.name is not None
        self.was_named, self.resume = request.name is not None, request.resume
        if request.session_id is not None:
            named_session(request.session_id)

    async def start(self, ledger: Ledger, registry: Registry) -> tuple[Iterator[list[Line]], BatchHistory | None]:
        """The lines, and the history of the batch if it has a name."""
        request = self._request
        if self.name is None:
            return self.lines(new_id()), None
        reader = BatchReader(ledger.path)
        if request.resume:
            generation = latest_generation(reader, self.name)
        else:
            generation = await start_batch(ledger, self.name)
        history = BatchHistory(reader, registry, generation)
        lines = self.lines(generation)
        return (history.resumed if request.resume else history.with_keys)(lines), history

    def keyed_lines(self, generation: str) -> Iterator[list[Line]]:
        """The lines; the task of each has its key in that generation."""
        for lines in self.lines(generation):
            for line in lines:
                if line.task is not None:
                    line.task.idempotency = BatchLineKey(generation, line.key)
            yield lines

    def lines(self, generation: str) -> Iterator[list[Line]]:
        """The lines. Those without a session are in one that is named after the generation."""
        request = self._request
        defaults = Defaults(
            request.capability,
            request.templates,
            request.session_id if request.session_id is not None else f"batch_{generation}",
            request.parameters,
            request.context,
            request.agent_id,
            request.timeout_s,
            request.require,
            request.file,
        )
        # the keys of lines depend on this list: if its order or an element changes, every line counts as new
        decisive = [
            request.capability,
            request.items,
            request.parameters,
            request.context,
            request.agent_id,
            request.csv,
        ]
        parser = LineParser(defaults, jsonio.encode_bytes(decisive))
        return (parser.from_csv if request.csv else parser.from_json)(self._descriptor)


def check_ledger_exists(ledger: LedgerLocation) -> None:
    """Raise NotFound if there is no ledger, because resuming in a missing ledger must not create an empty one."""
    if not Database(ledger).exists():
        raise NotFound(f"no ledger at {ledger}, so there is nothing to continue", "Choose another file with --ledger.")


def _default_name(file: str) -> str:
    """The path of the file, with bytes that are not UTF-8 escaped."""
    return os.fsencode(config_file.absolute(file, "--batch")).decode("utf-8", "backslashreplace")


def _open(file: str) -> tuple[int, int | None]:
    """A descriptor of `file`, and its size if it is a regular file."""
    try:
        descriptor = os.open(config_file.absolute(file, "--batch"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"batch file not found: {file!r}", "Check the path.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read the batch file {file!r}: {reason}") from error
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"the batch file {file!r} is a directory", "Name a file in it.")
    return descriptor, status.st_size if stat.S_ISREG(status.st_mode) else None

"""Logs: everything that aorch logs goes to loggers `aorch.*` of the standard `logging` module.

A program that embeds aorch adds its own handlers; without any, aorch is silent. The commands that run as a service add a
LineHandler, which writes to standard error.
"""

import asyncio
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

from aorch import jsonio
from aorch.clock import now

FLUSH_AFTER_S = 0.1
SERVICE_LOGGERS = ("aorch", "aiohttp", "asyncio")
"""The loggers that a service writes to standard error, including the loggers below them."""

ROOT = logging.getLogger("aorch")
ROOT.addHandler(logging.NullHandler())


def log_fields(logger: logging.Logger, time: str, fields: dict[str, Any], message: str, *arguments: object) -> None:
    """Log an INFO record of an event at `time` (RFC 3339). `fields` replace the message in a JSON log.

    `Logger.info` takes three times as long: it looks for the caller's line.
    """
    if logger.isEnabledFor(logging.INFO):
        record = logging.LogRecord(logger.name, logging.INFO, __file__, 0, message, arguments, None)
        record.time, record.fields = time, fields
        logger.handle(record)


class LineHandler(logging.Handler):
    """Writes each record as a line to standard error, as text or as a JSON object. Lines are written together,
    FLUSH_AFTER_S after the first one: a separate write for each line costs 10 µs per request.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        super().__init__()
        self.as_json = as_json
        self._lines: list[str] = []
        assert self.lock is not None
        self._lock = self.lock  # logging renews it in a forked child
        self._alone: list[logging.Handler] | None = None

    def attach(self) -> None:
        """Start writing the records of SERVICE_LOGGERS."""
        ROOT.setLevel(logging.INFO)
        for name in SERVICE_LOGGERS:
            logging.getLogger(name).addHandler(self)
        self._alone = ROOT.handlers.copy()

    def is_alone(self, logger: logging.Logger) -> bool:
        """Whether an INFO record of `logger`, a child of ROOT, would reach this handler and no other, unfiltered.

        Then `write_line` does the same in a fifth of the time.
        """
        return (
            ROOT.handlers == self._alone
            and not (logging.root.handlers or logger.handlers or logger.filters or self.filters)
            and logger.propagate
            and logger.isEnabledFor(logging.INFO)
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Schedule the line of `record` for writing; without an event loop in this thread, write it at once."""
        fields: dict[str, Any] | None = getattr(record, "fields", None)
        time: str = getattr(record, "time", None) or now()
        text = record.getMessage() if record.exc_info is None else self._with_traceback(record)
        self.write_line(time, text, fields)

    def write_line(self, time: str, text: str, fields: dict[str, Any] | None) -> None:
        """Schedule the line of an event at `time` for writing: `text`, or `fields` in a JSON log."""
        if self.as_json:
            line = jsonio.encode({"time": time, **({"text": text} if fields is None else fields)})
        else:
            line = f"{time} {text}"
        with self._lock:
            self._lines.append(line if line.isprintable() else escaped(line))
            is_first = len(self._lines) == 1
        if is_first:
            try:
                asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)
            except RuntimeError:
                self.flush()

    def _with_traceback(self, record: logging.LogRecord) -> str:
        """Lines after the first are indented, so that the text of an error cannot look like another log line."""
        return "\n  ".join(self.format(record).splitlines())

    def flush(self) -> None:
        """Write the lines that wait."""
        with self._lock:
            lines, self._lines = self._lines, []
        if lines:
            sys.stderr.write("\n".join(lines) + "\n")
            sys.stderr.flush()


class WarningHandler(logging.Handler):
    """Passes the text of warnings (not of errors, which a command shows itself) to `warn`."""

    warn: Callable[[str], None]

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on the text of `record`, if it is a warning."""
        if record.levelno == logging.WARNING:
            self.warn(record.getMessage())


def warn_of_agents(warn: Callable[[str], None]) -> None:
    """Pass the warnings of the logger `aorch.agents` to `warn` from now on."""
    handler = WarningHandler()
    handler.warn = warn
    logging.getLogger("aorch.agents").addHandler(handler)


_UNUSUAL = re.compile(r"[^ -~]+")
_LINE_BREAK = re.compile(r"\n(?! {2})")


def escaped(text: str) -> str:
    """`text` with the characters that control a terminal or hide text (bidirectional ones) as JSON escapes.

    Line breaks are kept, and the lines after them are indented, so that no text can look like another log line.
    """
    if text.isprintable():
        return text
    return _LINE_BREAK.sub("\n  ", _UNUSUAL.sub(lambda found: "".join(map(_visible, found[0])), text))


def _visible(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join([f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4)])

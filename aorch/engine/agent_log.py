"""The standard logger `aorch.agents`: the traceback of an agent that raised (the ledger keeps only the error's message), and a
warning when tasks wait because their agent cannot be started.

Silent until a program or a service adds a handler, as loggers of libraries are.
"""

import logging
import math
import time
from collections.abc import Callable

from aorch.errors import AgentNotStarted

LOGGER = logging.getLogger("aorch.agents")
LOGGER.addHandler(logging.NullHandler())
WAITS_AGAIN_S = 60.0
TOLD = ("aorch", "aiohttp", "asyncio")
"""The loggers whose records, and those of loggers below them, a service has in its own log."""


def raised(agent_id: str, capability: str, request_id: str, error: BaseException) -> None:
    """Log that an agent raised `error` while it did the task of that REQUEST."""
    LOGGER.error("agent %r failed at %r (contract %s)", agent_id, capability, request_id, exc_info=error)


class Waits:
    """Logs that tasks wait, at most once in WAITS_AGAIN_S."""

    def __init__(self) -> None:
        self._at = -math.inf

    def because(self, lack: AgentNotStarted) -> None:
        """A task waits because of `lack`."""
        if time.monotonic() - self._at > WAITS_AGAIN_S:
            self._at = time.monotonic()
            LOGGER.warning("tasks wait: %s. %s", lack, lack.hint)


def tell_to(tell: Callable[[str], None], *, service: bool = True) -> None:
    """From now on `tell` gets each record as text, in the thread that logs it: of the loggers TOLD if a `service` logs, else
    only the warnings of LOGGER.
    """
    handler = _Telling(tell)
    if service:
        for name in TOLD:
            logging.getLogger(name).addHandler(handler)
    else:
        handler.addFilter(lambda record: record.levelno <= logging.WARNING)
        LOGGER.addHandler(handler)


class _Telling(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """All lines but the first are indented: no text of an error passes for another line of the log."""
        first, *rest = self.format(record).splitlines()
        self._tell("\n".join([first, *(f"  {line}" for line in rest)]))

"""The standard logger `aorch.agents`: the traceback of an agent that raised. The ledger keeps only the error's message.

Silent until a program or a service adds a handler, as loggers of libraries are.
"""

import logging
from collections.abc import Callable

LOGGER = logging.getLogger("aorch.agents")
LOGGER.addHandler(logging.NullHandler())


def raised(agent_id: str, capability: str, request_id: str, error: BaseException) -> None:
    """Log that an agent raised `error` while it did the task of that REQUEST."""
    LOGGER.error("agent %r failed at %r (contract %s)", agent_id, capability, request_id, exc_info=error)


def tell_to(tell: Callable[[str], None]) -> None:
    """From now on `tell` gets each record as text, in the thread that logs it."""
    LOGGER.addHandler(_Telling(tell))


class _Telling(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """All lines but the first are indented: no text of an error passes for another line of the log."""
        first, *rest = self.format(record).splitlines()
        self._tell("\n".join([first, *(f"  {line}" for line in rest)]))

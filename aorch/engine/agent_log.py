"""The logger `aorch.agents`: the traceback of an agent that raised an exception (the ledger keeps only its message), and a
warning while tasks wait because their agent cannot be started.
"""

import logging
import math
import time
import traceback

from aorch import logs
from aorch.engine.task import Redaction
from aorch.errors import AgentNotStarted

LOGGER = logging.getLogger(f"{logs.ROOT.name}.agents")
WARN_INTERVAL_S = 60.0


def log_exception(
    agent_id: str, capability: str, request_id: str, error: BaseException, redaction: Redaction | None = None
) -> None:
    """Log that an agent raised `error` while it executed the task of that REQUEST, without the secrets of the task."""
    if redaction is None:
        LOGGER.error("agent %r failed at %r (contract %s)", agent_id, capability, request_id, exc_info=error)
        return
    text = redaction.value("".join(traceback.format_exception(error)).rstrip())
    LOGGER.error("agent %r failed at %r (contract %s)\n%s", agent_id, capability, request_id, text)


class StartWarnings:
    """Warns that tasks wait because their agent cannot be started, at most once in WARN_INTERVAL_S."""

    _warned_at = -math.inf

    def warn(self, lack: AgentNotStarted) -> None:
        """A task waits because of `lack`."""
        if time.monotonic() - self._warned_at > WARN_INTERVAL_S:
            self._warned_at = time.monotonic()
            LOGGER.warning("tasks wait: %s. %s", lack, lack.hint)

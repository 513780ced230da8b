"""The logs of a service:

`aorch.requests` contains a line for each request, and `aorch.server` messages of the service itself.
"""

import logging
from typing import Any

from aorch.clock import now
from aorch.ledger.record import Record
from aorch.logs import LineHandler, log_fields
from aorch.worker.task_log import log_task

REQUESTS = logging.getLogger("aorch.requests")
SERVER = logging.getLogger("aorch.server")


class RequestLog:
    """The log of a service, with a handler that writes to standard error once it is attached."""

    def __init__(self, *, as_json: bool) -> None:
        self._handler = LineHandler(as_json=as_json)
        self.attach = self._handler.attach
        self.flush = self._handler.flush

    def write(
        self, method: str, path: str, status: int, duration_ms: float, request_id: str, about: dict[str, Any]
    ) -> None:
        """Log one request, with the additional fields `about`."""
        time, others = now(), "".join([f" {name}={value}" for name, value in about.items()])
        handler, fields = self._handler, None
        is_alone = handler.is_alone(REQUESTS)
        if handler.as_json or not is_alone:
            fields = {
                "method": method,
                "path": path,
                "status": status,
                "duration_ms": round(duration_ms, 3),
                "request_id": request_id,
                **about,
            }
        if is_alone:
            text = f"{method} {path} {status} {duration_ms:.1f} ms request_id={request_id}{others}"
            handler.write_line(time, text, fields)
        else:
            message = "%s %s %s %.1f ms request_id=%s%s"
            log_fields(REQUESTS, time, fields or {}, message, method, path, status, duration_ms, request_id, others)

    def ended(self, response: Record) -> None:
        """Log a queued task that this server executed."""
        log_task(response, among_requests=True)

    def tell(self, text: str) -> None:
        """Log a message that belongs to no request."""
        SERVER.info("%s", text)

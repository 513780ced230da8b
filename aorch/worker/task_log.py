"""The logger `aorch.tasks`: a line for each queued task that this process executed."""

import logging
from typing import Any

from aorch import jsonio
from aorch.ledger.record import Record
from aorch.logs import log_fields

LOGGER = logging.getLogger("aorch.tasks")


def log_task(response: Record, *, among_requests: bool = False) -> None:
    """Log the end of the task that `response` answers. `among_requests`: the log also contains the requests of a server."""
    metadata = jsonio.decode(response.metadata)
    duration_ms = metadata["duration_ms"]
    fields: dict[str, Any] = {
        "capability": response.capability,
        "status": response.status,
        "duration_ms": duration_ms,
        "contract_id": response.request_id,
        "session": response.session_id,
        **({"code": metadata["code"]} if "code" in metadata else {}),
    }
    values = dict(list(fields.items())[3:])
    # the caller chose the session, which may contain line breaks and control characters
    encoded = jsonio.encode(response.session_id)
    values["session"] = encoded if among_requests else encoded[1:-1]
    text = "".join(f" {name}={value}" for name, value in values.items())
    start = "task " if among_requests else ""
    message = "%s%s %s %.1f ms%s"
    log_fields(
        LOGGER, response.created_at, fields, message, start, response.capability, response.status, duration_ms, text
    )

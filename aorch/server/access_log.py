"""One line a request on standard error: readable, or JSON."""

from typing import Any

from aorch import jsonio
from aorch.clock import now
from aorch.engine.log_lines import Log, as_text, end_of_task
from aorch.ledger.record import Row


class RequestLog(Log):
    """A log of requests."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def write(
        self, method: str, path: str, status: int, duration_ms: float, request_id: str, about: dict[str, Any]
    ) -> None:
        """Log one request."""
        if self._as_json:
            line = jsonio.encode(
                {
                    "time": now(),
                    "method": method,
                    "path": path,
                    "status": status,
                    "duration_ms": round(duration_ms, 3),
                    "request_id": request_id,
                    **about,
                }
            )
        else:
            said = "".join([f" {name}={value}" for name, value in about.items()])
            line = f"{now()} {method} {path} {status} {duration_ms:.1f} ms request_id={request_id}{said}"
        self.add(line)

    def ended(self, response: Row) -> None:
        """Log a task of the queue that this server did."""
        said = end_of_task(response)
        if self._as_json:
            return self.add(jsonio.encode({"time": response.created_at, **said}))
        said["session"] = jsonio.encode(response.session_id)  # whoever enqueued it chose it, control characters and all
        return self.add(f"{response.created_at} task {as_text(said)}")

    def tell(self, text: str) -> None:
        """Log something that belongs to no request."""
        self.add(jsonio.encode({"time": now(), "text": text}) if self._as_json else f"{now()} {text}")

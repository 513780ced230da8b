"""A server of models that speaks both wire formats, as unkind as real ones."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from doubles import Double
from model_streams import Said, completions, messages

KEY = "sk-test-6b1f0d2e9a"


@dataclass
class Rejects:
    """An HTTP error. `error` is the whole body if it is not a message."""

    status: int
    error: Any = "it is not possible"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Page:
    """An answer that is not one of the API."""

    body: bytes = b"<html>welcome</html>"
    kind: str = "text/html"


@dataclass
class Endless:
    """Text that never ends, until the client leaves."""

    text: str = "and so on "
    pause_s: float = 0.01


class ModelDouble(Double):
    """Answers request by request with the next of `script`; the last one stays. `asked` are the requests, `headers` theirs.

    `structured` is the text for questions with a schema, if it is not in the script. `left` is set when a client leaves an
    endless answer.
    """

    def __init__(self, *script: Said | Rejects | Page | Endless, structured: str = "") -> None:
        super().__init__()
        self.structured = structured
        self.script = list(script or (Said(),))
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left = threading.Event()

    def answer(self, method: str, path: str, headers: Any, body: Any) -> tuple[int, Any, dict[str, str]] | None:
        """Answer a request for a completion."""
        anthropic = path == "/v1/messages"
        if method != "POST" or not (anthropic or path == "/v1/chat/completions"):
            return 404, {"error": {"message": f"there is nothing at {path}"}}, {}
        self.asked.append(body)
        self.headers.append({name.lower(): value for name, value in headers.items()})
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, Rejects):
            document = {"error": {"message": said.error}} if isinstance(said.error, str) else said.error
            return said.status, document, said.headers
        if isinstance(said, Page):
            return 200, said.body, {"Content-Type": said.kind}
        stream = messages if anthropic else completions
        if isinstance(said, Endless):
            return 200, self._endless(stream(Said(said.text)), said.pause_s), {}
        if self.structured and ("response_format" in body or "tools" in body):
            said = Said(self.structured)
        if anthropic and body.get("tool_choice", {}).get("type") == "tool":
            said.as_tool = True
        return 200, stream(said), {}

    def _endless(self, once: Iterator[bytes | None], pause_s: float) -> Iterator[bytes | None]:
        pieces = list(once)
        begun, delta = pieces[:2], pieces[3]
        try:
            yield from begun
            while not self.closing.wait(pause_s):
                yield delta
        finally:
            self.left.set()

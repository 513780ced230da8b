"""One request to a model: the question, the reply as far as it has arrived, and the ways in which it fails."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from aorch.agents.base import AgentUsage
from aorch.agents.secret_mask import StreamMask, masked
from aorch.net.addresses import is_loopback

MOST_BYTES = 64 * 1024 * 1024
"""Maximum size of the stream of a reply. (A token takes about 250 bytes in it.)"""

CUT_OFF = frozenset(("length", "max_tokens", "model_context_window_exceeded"))
"""Stop reasons of a reply that reached a limit before its end."""
REFUSED = frozenset(("refusal", "content_filter"))
"""Stop reasons of a reply that the model or a filter withheld."""

FINISHED = frozenset(("stop", "end_turn", "stop_sequence", "eos", "eos_token", "end"))
"""Stop reasons of a reply that is complete, also if it is empty."""

TOOL = "answer"
"""The name of a reply with a schema: of the tool that the model must call, or of the response format."""


@dataclass(frozen=True)
class ModelAddress:
    """Where a model is: the API that its server speaks (`openai` or `anthropic`), its base URL and its name.

    `key_env` names the environment variable of its key, if it needs one. `proxy` is the URL of an HTTP proxy.
    """

    api: str
    base_url: str
    model: str
    key_env: str = ""
    proxy: str = ""

    def __str__(self) -> str:
        return f"{self.model} at {self.base_url}"

    def connects_to(self) -> str:
        """The URL to which connections are opened: that of the server, or of the proxy unless the server is on this machine."""
        return self.proxy if self.proxy and not is_loopback(self.base_url) else self.base_url


@dataclass(frozen=True)
class Question:
    """A question for a model. With `schema` (a JSON Schema), the reply is a JSON object that should match it.

    `without` are fields that the server does not support: `temperature`, `schema`, `stream_options`, or `max_tokens`
    (newer models of OpenAI have another name for it).
    """

    text: str
    system: str = ""
    schema: dict[str, Any] | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    without: frozenset[str] = frozenset()


@dataclass
class Reply:
    """The reply of a model, as far as it has arrived. What the server did not tell is None.

    `on_text` gets each piece of text when it arrives. `hide` masks a key in all of it.
    `value` is the object of a reply with a schema, if the API separates it from text. `begun`: the server has begun to answer.
    """

    on_text: Callable[[str], None] | None = None
    begun: bool = False
    value: dict[str, Any] | None = None
    refusal: str = ""
    model: str | None = None
    stop_reason: str | None = None
    usage: AgentUsage = field(default_factory=lambda: AgentUsage(input=None, output=None, cached=None))
    _pieces: list[str] = field(default_factory=list)
    _key: str = ""
    _mask: StreamMask = field(default_factory=lambda: StreamMask(""))

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    @property
    def is_cut_off(self) -> bool:
        """Whether it reached a limit before its end."""
        return self.stop_reason in CUT_OFF

    @property
    def is_missing(self) -> bool:
        """Whether the model stopped without an answer, for example to call a tool that it was not offered."""
        return self.value is None and not self.text.strip() and self.stop_reason not in FINISHED

    @property
    def is_refused(self) -> bool:
        """Whether the model or a filter withheld it."""
        return bool(self.refusal) or self.stop_reason in REFUSED

    def hide(self, key: str) -> None:
        """Mask the key of the server, which sends it back. Call this before the reply begins."""
        self._key, self._mask = key, StreamMask(key)

    def add(self, text: str) -> None:
        """Append a piece of text. Raises TypeError for anything else, which some servers send."""
        if not isinstance(text, str):
            raise TypeError(f"{type(text).__name__} instead of text")
        self._show(self._mask.feed(text))

    def end(self) -> None:
        """The reply is complete."""
        self._show(self._mask.end())
        self.value, self.refusal, self.model = masked(
            [self.value, self.refusal, self.model], [self._key] if self._key else []
        )

    def _show(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            if self.on_text is not None:
                self.on_text(text)


def counted(value: Any) -> int | None:
    """A number of tokens; None if the server reported something else."""
    return value if type(value) is int and value >= 0 else None


class ModelApi(Protocol):
    """One of the two APIs, by the package of its vendor. It sends each question once."""

    async def send(self, question: Question, reply: Reply) -> None:
        """Send the question and fill `reply` as it arrives. Raises ModelError."""

    async def close(self) -> None:
        """Close all connections."""


class ModelError(Exception):
    """There is no complete reply; the message is the reason. It never contains the key."""


class ModelUnreachable(ModelError):
    """The server did not receive the question: no connection, no such host, or no valid certificate."""


class ModelLost(ModelError):
    """The connection broke, or the stream ended, before the reply was complete."""


class ModelAnswerInvalid(ModelError):
    """The server answered with something else than the events of its API."""


class ModelAnswerTooLarge(ModelError):
    """The stream of the reply is longer than MOST_BYTES."""


class ModelRejected(ModelError):
    """The server answered with an HTTP error, or with an error in the stream (`status`: the corresponding one).

    The message is that of the server, in one line; `document` is its whole error. `retry_after_s` is None if the server set
    no time.
    """

    def __init__(self, status: int, said: str, document: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(said)
        self.status = status
        self.document = document or said
        self.retry_after_s = retry_after_s

    @property
    def is_busy(self) -> bool:
        """Whether a rate limit was reached or the server is overloaded. (OpenAI also sends 429 if there is no money left.)"""
        return self.status in (429, 503, 529) and "insufficient_quota" not in self.document

    @property
    def is_about_key(self) -> bool:
        """Whether the server rejects the key. Servers quote keys, or parts of them, in such errors."""
        return self.status in (401, 403)

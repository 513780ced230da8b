"""The two APIs for calling a model: Anthropic's Messages, and the chat completions of OpenAI-compatible servers.

Each provider sends one request and never retries.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from aorch.config.sections import LlmConfig
from aorch.errors import ConfigInvalid
from aorch.net.addresses import is_loopback

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

    from aorch.net.http_client import HttpClient

MOST_BYTES = 4 * 1024 * 1024
"""The largest accepted response."""

TOOL = "answer"


@dataclass(frozen=True)
class Question:
    """A question for a model; `schema` is the JSON Schema of the expected answer.

    `without` are fields that the server does not support: `temperature`, `schema`, or `max_tokens` (newer models of OpenAI have
    another name for it).
    """

    system: str
    text: str
    schema: dict[str, Any]
    max_output_tokens: int
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reply:
    """The answer of a model: JSON text, or an object if the API has decoded it."""

    content: str | dict[str, Any]
    truncated: bool = False
    refused: bool = False
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass
class ProviderRejected(Exception):
    """The server answered with an HTTP error. `text` is the start of the body."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ProviderUnreachable(Exception):
    """There was no complete response: no connection, a broken connection, or a timeout (`late`)."""

    reason: str
    late: bool = False


class Provider(Protocol):
    """One of the two APIs."""

    async def __aenter__(self) -> Self:
        """Open the client."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""

    async def send(self, question: Question) -> Reply:
        """Send one request. Raises ProviderRejected and ProviderUnreachable."""


class AnthropicProvider:
    """Calls the model with the `anthropic` package. The answer is the input of a tool that the model must call."""

    def __init__(self, config: LlmConfig, key: str) -> None:
        try:
            import anthropic  # noqa: PLC0415  optional, and it takes a second to import
        except ImportError as error:
            raise ConfigInvalid("the package `anthropic` is not installed", "pip install 'aorch[anthropic]'") from error
        self._package = anthropic
        self._config = config
        self._key = key
        self._client: AsyncAnthropic | None = None

    async def __aenter__(self) -> Self:
        proxy = None if is_loopback(self._config.url) else self._config.proxy or None
        # like http_client.py: nothing from the environment, no redirects
        client = self._package.DefaultAsyncHttpxClient(trust_env=False, follow_redirects=False, proxy=proxy)
        self._client = self._package.AsyncAnthropic(
            api_key=self._key,
            base_url=self._config.url,
            max_retries=0,
            timeout=self._config.timeout_s,
            http_client=client,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._client is not None
        await self._client.close()

    async def send(self, question: Question) -> Reply:
        """Send one request. Raises ProviderRejected and ProviderUnreachable."""
        assert self._client is not None
        try:
            sent = await self._client.messages.create(**self._body(question))
        except self._package.APIStatusError as error:
            # from None: the error of the package contains the request with the key
            raise ProviderRejected(error.status_code, error.message, error.response.headers) from None
        except self._package.APITimeoutError:
            raise ProviderUnreachable(_late(self._config), late=True) from None
        except self._package.APIError as error:
            raise ProviderUnreachable(type(error).__name__) from None
        calls = [block.input for block in sent.content if block.type == "tool_use"]
        texts = [block.text for block in sent.content if block.type == "text"]
        return Reply(
            calls[0] if calls and isinstance(calls[0], dict) else "".join(texts),
            truncated=sent.stop_reason == "max_tokens",
            refused=sent.stop_reason == "refusal",
            tokens_in=sent.usage.input_tokens,
            tokens_out=sent.usage.output_tokens,
        )

    def _body(self, question: Question) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._config.model,
            "max_tokens": question.max_output_tokens,
            "system": question.system,
            "messages": [{"role": "user", "content": question.text}],
            # not every version of the package has the argument, and not every model supports it
            "extra_body": {"temperature": 0},
            "tools": [{"name": TOOL, "description": "Takes the answer.", "input_schema": question.schema}],
            "tool_choice": {"type": "tool", "name": TOOL},
        }
        if "temperature" in question.without:
            del body["extra_body"]
        if "schema" in question.without:
            body["tool_choice"] = {"type": "auto"}
        return body


class OpenAiProvider:
    """Sends POST `<url>/chat/completions`, with the schema as `response_format`."""

    def __init__(self, config: LlmConfig, key: str) -> None:
        self._config = config
        self._key = key
        self._client: HttpClient | None = None

    async def __aenter__(self) -> Self:
        from aorch.net.http_client import HttpClient  # noqa: PLC0415  aiohttp takes 190 ms

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = HttpClient(self._config.timeout_s, headers=headers, proxy=self._config.proxy)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._client is not None
        await self._client.close()

    async def send(self, question: Question) -> Reply:
        """Send one request. Raises ProviderRejected and ProviderUnreachable."""
        from aiohttp import ClientError  # noqa: PLC0415  likewise

        from aorch.net.http_client import read_limited  # noqa: PLC0415  likewise

        assert self._client is not None
        url = f"{self._config.url.rstrip('/')}/chat/completions"
        try:
            async with self._client.request("POST", url, json=self._body(question)) as answer:
                body = await read_limited(answer, MOST_BYTES)
        except TimeoutError as error:
            raise ProviderUnreachable(_late(self._config), late=True) from error
        except (ClientError, OSError) as error:
            raise ProviderUnreachable(type(error).__name__) from error
        if body is None:
            raise ProviderUnreachable(f"an answer of more than {MOST_BYTES} bytes")
        text = body.decode("utf-8", "replace")
        if answer.status != 200:
            raise ProviderRejected(answer.status, text[:2000], answer.headers)
        return _completion(text)

    def _body(self, question: Question) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_tokens" in question.without else "max_tokens"
        body: dict[str, Any] = {
            "model": self._config.model,
            limit: question.max_output_tokens,
            "messages": [{"role": "system", "content": question.system}, {"role": "user", "content": question.text}],
            "temperature": 0,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": TOOL, "strict": True, "schema": question.schema},
            },
        }
        if "temperature" in question.without:
            del body["temperature"]
        if "schema" in question.without:
            del body["response_format"]
        return body


def _late(config: LlmConfig) -> str:
    return f"silent for {config.timeout_s:g} s"


def _completion(text: str) -> Reply:
    """The first choice of a chat completion. An invalid body counts as one that was cut off."""
    try:
        body = json.loads(text)
        choice, usage = body["choices"][0], body.get("usage") or {}
        message = choice["message"]
        return Reply(
            message.get("content") or "",
            truncated=choice.get("finish_reason") == "length",
            refused=bool(message.get("refusal")) or choice.get("finish_reason") == "content_filter",
            tokens_in=int(usage.get("prompt_tokens") or 0),
            tokens_out=int(usage.get("completion_tokens") or 0),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Reply("", truncated=True)

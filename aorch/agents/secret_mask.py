"""Replaces an agent's secrets in what it sends back, so that the ledger, logs and answers do not contain them."""

from collections.abc import Iterable, Sequence
from typing import Any

from aorch import jsonio
from aorch.config import environment
from aorch.errors import AorchError

MASK = "***"
SHORTEST = 4
"""Minimum length of a secret that is replaced. (A shorter one appears in many texts, and protects nothing.)"""


def secrets_in(variables: Sequence[str]) -> list[str]:
    """The secrets in these environment variables, longest first: one can be a part of another."""
    values = {environment.secret(name) for name in variables}
    return sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True)


def masked(value: Any, secrets: Sequence[str]) -> Any:
    """`value` (JSON) with MASK instead of each secret in its texts, keys and numbers. MASK replaces a value that is too deep."""
    try:
        return _masked(value, secrets) if secrets else value
    except RecursionError:
        return MASK


def _masked(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, dict):
        return {_masked(key, secrets): _masked(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, secrets) for item in value]
    number = number_text(value)
    return value if number is None or not any(secret in number for secret in secrets) else MASK


def number_text(value: Any) -> str | None:
    """The JSON text of a number; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return jsonio.encode(value)
    except AorchError:  # it has none: neither the ledger nor an answer can contain it
        return None


def may_contain(text: str, secrets: Sequence[str]) -> bool:
    """Whether the JSON `text` (of `jsonio.encode`) contains one of the secrets."""
    return any(jsonio.encode(secret)[1:-1] in text for secret in secrets)


class StreamMask:
    """Masks one secret in a text that arrives in pieces, which can split it. Without a secret, pieces are returned unchanged."""

    def __init__(self, secret: str) -> None:
        self._secret = secret if len(secret) >= SHORTEST else ""
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that can be shown after `piece` has arrived. A possible beginning of the secret is held back."""
        if not self._secret:
            return piece
        text = (self._held + piece).replace(self._secret, MASK)
        start = text.find(self._secret[0], max(0, len(text) - len(self._secret) + 1))
        while start >= 0 and not self._secret.startswith(text[start:]):
            start = text.find(self._secret[0], start + 1)
        shown = len(text) if start < 0 else start
        self._held = text[shown:]
        return text[:shown]

    def end(self) -> str:
        """The text that was held back: the whole text has arrived, and it is not the secret."""
        held, self._held = self._held, ""
        return held


class PiecesMask:
    """Masks several secrets, the longest first, in a text that arrives in pieces."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._streams = [StreamMask(secret) for secret in sorted(secrets, key=len, reverse=True)]

    def feed(self, piece: str) -> str:
        """The text that can be shown after `piece` has arrived."""
        for stream in self._streams:
            piece = stream.feed(piece)
        return piece

    def end(self) -> str:
        """The text that was held back: the whole text has arrived."""
        text = ""
        for stream in self._streams:
            text = stream.feed(text) + stream.end()
        return text


def is_piece(progress: Any) -> bool:
    """Whether `progress` is a piece of a text: `{"text": "…"}`."""
    return isinstance(progress, dict) and progress.keys() == {"text"} and isinstance(progress["text"], str)

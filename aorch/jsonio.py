"""Encoding and decoding of JSON (RFC 8259), the same everywhere.

Integers of any size are kept exactly. NaN and the infinities, which JSON does not have, become null. U+0000 and lone
surrogates, which PostgreSQL and UTF-8 reject, become U+FFFD.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from aorch.errors import InvalidJSON

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder()
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""Each escape sequence of a JSON text, surrogate pairs as one; `half` is a surrogate without its other half."""
_UNKNOWN = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}|(?P<unknown>.))', re.DOTALL)


def encode(value: Any) -> str:
    """`value` as one line of JSON. Raises InvalidJSON if it has no JSON form (a function, a cycle)."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError):
        return encode_bytes(value).decode()
    return (encode_bytes(value) if b"\\u0000" in text else text).decode()


def encode_bytes(value: Any) -> bytes:
    """Like `encode`, but returns UTF-8."""
    try:
        try:
            text = _encode(value)
        except UnicodeEncodeError:
            text = b"\\u0000"
        if b"\\u0000" in text:
            text = _encode(_storable(msgspec.to_builtins(value)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJSON(f"a value has no JSON form: {error}") from error
    return text


def decode(text: str | bytes) -> Any:
    """The value of the JSON `text`; an escaped lone surrogate becomes U+FFFD. A byte order mark is ignored.

    Raises InvalidJSON with the position of the error.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if (unmarked := without_mark(text)) is not None:
            return decode(unmarked)
        whole = without_half_pairs(text)
        if whole is not None:
            return decode(whole)
        raise InvalidJSON(f"not JSON: {reason_of(error)}") from error


def leaves(value: Any) -> Iterator[Any]:
    """The keys and the values in a JSON value that contain no others: strings, numbers, booleans and nulls; in any order."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        else:
            yield value


def reason_of(error: Exception) -> str:
    """Why msgspec could not decode a JSON text."""
    reason = str(error).partition(" - at `")[0].removeprefix("JSON is malformed: ")
    return reason.replace("Input data was truncated", "unexpected end")


def without_mark(text: str | bytes) -> bytes | None:
    """JSON text without its byte order mark, which some programs write; None if it has none."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return raw.removeprefix(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else None


def without_half_pairs(text: str | bytes) -> bytes | None:
    """JSON text with U+FFFD instead of each escaped lone surrogate; None if it has none."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    whole = _ESCAPES.sub(lambda escape: b"\\ufffd" if escape["half"] else escape[0], raw)
    return None if whole == raw else whole


def is_nearly_object(text: str) -> bool:
    """Whether `text`, which `decode` rejects, is almost a JSON object: its only faults are NaN, an infinity, an unknown
    escape, a raw control character in a string, or too many levels.
    """
    import json as lenient  # noqa: PLC0415  8 ms, only for a text that is no JSON

    try:
        known = _UNKNOWN.sub(lambda escape: "\\ufffd" if escape["unknown"] else escape[0], text)
        return isinstance(lenient.loads(known, strict=False), dict)
    except RecursionError:
        return True
    except ValueError:
        return False


def storable_text(text: str) -> str:
    """`text` with U+0000 and lone surrogates replaced by U+FFFD, so that every database accepts it."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value

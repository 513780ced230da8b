"""JSON text in and out (RFC 8259), the same everywhere.

Whole numbers of any size survive exactly. NaN and the infinities, which JSON does not have, become null. U+0000 and lone
surrogates, which PostgreSQL and UTF-8 refuse, become U+FFFD.
"""

from typing import Any

import msgspec

from aorch.errors import InvalidJSON

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder()


def encode(value: Any) -> str:
    """`value` as one line of JSON. Raises InvalidJSON for what has no JSON form (a function, a circle)."""
    return encode_bytes(value).decode()


def encode_bytes(value: Any) -> bytes:
    """What `encode` gives, in UTF-8."""
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
    """The value that `text` holds. Raises InvalidJSON, which says where the text breaks."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidJSON(f"not JSON: {error}") from error


def storable_text(text: str) -> str:
    """`text` with U+0000 and lone surrogates replaced by U+FFFD, so that every database takes it."""
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

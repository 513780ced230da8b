"""Request bodies: read after the caller was authenticated, decompressed, and limited in time, size and depth."""

import asyncio
import zlib
from codecs import BOM_UTF8
from itertools import accumulate

from aiohttp import hdrs, web

from aorch.errors import InvalidJSON
from aorch.server.fast_path import JSON, arrived_body
from aorch.server.problems import HttpError
from aorch.server.request_context import CONTEXT

_ZLIB_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""The supported content codings, with zlib's `wbits` for each."""
_RAW_DEFLATE = -15
"""Some clients send `deflate` without the zlib header that RFC 9110 requires."""


async def read_body(request: web.Request) -> bytes:
    """Return the JSON text of the body. Raises HttpError (400, 408, 413, 415), and InvalidJSON if it is nested too deeply."""
    if request.headers.get(hdrs.CONTENT_TYPE) != JSON and request.content_type != JSON:
        message = f"the content type {request.content_type[:80]!r} is not supported"
        raise HttpError(415, "not_json", message, "Send the body as application/json.")
    coding = _coding(request) if hdrs.CONTENT_ENCODING in request.headers else None
    settings = request[CONTEXT].services.settings
    raw = arrived_body(request) if request.content.total_bytes <= settings.max_body_bytes else None
    if raw is None:
        raw = await _receive(request, settings.max_body_bytes, settings.read_timeout_s)
    if coding is not None:  # in a thread: a megabyte takes milliseconds
        raw = await asyncio.to_thread(_decompress, raw, coding, settings.max_body_bytes)
    if raw.startswith(BOM_UTF8):
        raw = raw.removeprefix(BOM_UTF8)
    deepest = settings.max_json_depth
    if raw.count(b"{") + raw.count(b"[") > deepest and is_deeper_than(deepest, raw):
        raise InvalidJSON(f"the body is nested deeper than {deepest} levels (serve.max_json_depth)")
    return raw


def _coding(request: web.Request) -> str | None:
    """Return the content coding, or None for `identity`. Raises HttpError (415) for several or an unsupported one."""
    given = ", ".join(request.headers.getall(hdrs.CONTENT_ENCODING)).strip().lower()
    if given in ("", "identity"):
        return None
    if given not in _ZLIB_WBITS:
        raise HttpError(
            415,
            "encoding_not_supported",
            f"the Content-Encoding {given[:40]!r} is not supported",
            "Use gzip or deflate, or send the body without Content-Encoding.",
            Accept_Encoding="gzip, deflate",
        )
    return given


async def _receive(request: web.Request, most: int, timeout_s: float) -> bytes:
    """Return the body as it was sent. Raises HttpError (408), and aiohttp's 413."""
    if (announced := request.content_length or 0) > most:
        raise web.HTTPRequestEntityTooLarge(most, announced)
    try:
        async with asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError:
        raise HttpError(
            408, "too_slow", f"the body did not arrive within {timeout_s:g} s (serve.read_timeout_s)"
        ) from None


def _decompress(raw: bytes, coding: str, most: int) -> bytes:
    """Return `raw` without its content coding. Stops at `most` bytes (413). Raises HttpError (400) for invalid data."""
    wbits = _ZLIB_WBITS[coding]
    if coding == "deflate" and raw and raw[0] & 0x0F != zlib.DEFLATED:
        wbits = _RAW_DEFLATE
    inflater = zlib.decompressobj(wbits)
    try:
        text = inflater.decompress(raw, most + 1)
    except zlib.error:
        raise body_broken() from None
    if len(text) > most:
        raise web.HTTPRequestEntityTooLarge(most, len(text))
    if not inflater.eof or inflater.unused_data:
        raise body_broken()
    return text


def body_broken() -> HttpError:
    """Return the error for a body that does not match its headers."""
    return HttpError(
        400,
        "body_broken",
        "the body does not match its Content-Encoding or Transfer-Encoding",
        "Check how the client encodes it.",
    )


_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_LISTS = bytes.maketrans(b"{}", b"[]")
_STEPS = [1 if byte == ord("[") else -1 if byte == ord("]") else 0 for byte in range(256)]
_ROUNDS = 8
"""Number of innermost levels that `replace` removes. After that, almost nothing of an ordinary text is left."""


def is_deeper_than(most: int, raw: bytes) -> bool:
    """Whether `raw`, if it is JSON, has more than `most` levels. Uses only C functions, so it is faster than parsing."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(raw.split(b'"')[::2]).translate(_AS_LISTS, _NO_BRACKETS)
    for removed in range(_ROUNDS):
        if brackets.count(b"[") + removed <= most:
            return False
        brackets = brackets.replace(b"[]", b"")
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) + _ROUNDS > most

"""The body of a request: read once its caller is let in, decompressed, and bounded in time, size and depth."""

import asyncio
import zlib
from codecs import BOM_UTF8
from itertools import accumulate

from aiohttp import hdrs, web

from aorch.errors import InvalidJSON
from aorch.server.json_response import JSON
from aorch.server.problems import Refusal
from aorch.server.request_context import services_of

_ZLIB_FORMAT = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content codings that a body may have, with the `wbits` by which zlib knows them."""
_RAW_DEFLATE = -15
"""What some clients send as `deflate`, without the header that RFC 9110 asks for."""
_HINT = "Send it as gzip or deflate, or without Content-Encoding."


async def read_raw(request: web.Request) -> bytes:
    """The JSON text of the body. Raises Refusal (400, 408, 413, 415), and InvalidJSON when it is nested too deeply."""
    if request.headers.get(hdrs.CONTENT_TYPE) != JSON and request.content_type != JSON:
        raise Refusal(415, "not_json", f"the body is {request.content_type}", "Send it as application/json.")
    coding = _coding(request)
    settings = services_of(request).settings
    raw = await _received(request, settings.max_body_bytes, settings.read_timeout_s)
    if coding is not None:  # in a thread: a megabyte takes milliseconds
        raw = await asyncio.to_thread(_decompressed, raw, coding, settings.max_body_bytes)
    raw = raw.removeprefix(BOM_UTF8)
    if _deeper_than(settings.max_json_depth, raw):
        raise InvalidJSON(f"the body is nested deeper than {settings.max_json_depth} levels (max_json_depth)")
    return raw


def _coding(request: web.Request) -> str | None:
    """The content coding; None when there is none. Raises Refusal (415) for one that is not supported, or several."""
    if hdrs.CONTENT_ENCODING not in request.headers:
        return None
    given = ", ".join(request.headers.getall(hdrs.CONTENT_ENCODING)).strip().lower()
    if given in ("", "identity"):
        return None
    if given not in _ZLIB_FORMAT:
        message = f"the Content-Encoding {given[:40]!r} is not supported"
        raise Refusal(415, "encoding_not_supported", message, _HINT, Accept_Encoding="gzip, deflate")
    return given


async def _received(request: web.Request, most: int, timeout_s: float) -> bytes:
    """What was sent, as it came. Raises Refusal (408, 413)."""
    if request.content.is_eof() and request.content.total_bytes <= most:
        return request.content.read_nowait()  # all of it is here: no timer is needed, nor any of `read`'s other care
    if (announced := request.content_length or 0) > most:
        raise web.HTTPRequestEntityTooLarge(most, announced)
    try:
        async with asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError:
        raise Refusal(408, "too_slow", f"the body took longer than {timeout_s:g} s") from None


def _decompressed(raw: bytes, coding: str, most: int) -> bytes:
    """`raw` without its content coding. Stops as soon as there is more than `most` of it (413); 400 when it is broken."""
    wbits = _ZLIB_FORMAT[coding]
    if coding == "deflate" and raw and raw[0] & 0x0F != zlib.DEFLATED:
        wbits = _RAW_DEFLATE
    inflater = zlib.decompressobj(wbits)
    try:
        text = inflater.decompress(raw, most + 1)
    except zlib.error:
        raise _broken() from None
    if len(text) > most:
        raise web.HTTPRequestEntityTooLarge(most, len(text))
    if not inflater.eof or inflater.unused_data:
        raise _broken()
    return text


def _broken() -> Refusal:
    return Refusal(400, "body_broken", "the body is not encoded as its headers say")


_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_LISTS = bytes.maketrans(b"{}", b"[]")
_STEPS = [1 if byte == ord("[") else -1 if byte == ord("]") else 0 for byte in range(256)]
_ROUNDS = 8
"""So many of the innermost levels are taken away by `replace`, which leaves next to nothing of an ordinary text."""


def _deeper_than(most: int, raw: bytes) -> bool:
    """Whether `raw`, if it is JSON, is nested deeper than that: by functions of C alone, in less time than parsing takes."""
    if raw.count(b"{") + raw.count(b"[") <= most:  # what opens must close, or it is no JSON
        return False
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(raw.split(b'"')[::2]).translate(_AS_LISTS, _NO_BRACKETS)
    for taken in range(_ROUNDS):
        if brackets.count(b"[") + taken <= most:
            return False
        brackets = brackets.replace(b"[]", b"")
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) + _ROUNDS > most

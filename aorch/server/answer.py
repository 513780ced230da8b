"""An answer of JSON, which is what most requests come to."""

import time
from email.utils import formatdate
from typing import Any
from urllib.parse import urlencode

from aiohttp import ClientConnectionResetError, HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_writer import _serialize_headers

from aorch import json

JSON = "application/json"
LARGE = 32_768
"""Bytes from which on a body may have to wait for its reader."""


class JsonAnswer(web.Response):
    """A response with a body of JSON.

    A small one, on a connection that stays open, goes out in one piece; any other, and every other response, goes aiohttp's
    general way, which takes 6 µs more (a bare handler takes 28 in all).
    """

    _at_once = False

    def __init__(
        self, body: bytes, *, status: int = 200, content_type: str = JSON, headers: dict[str, str] | None = None
    ) -> None:
        web.StreamResponse.__init__(self, status=status, headers={hdrs.CONTENT_TYPE: content_type, **(headers or {})})
        self._body: bytes = body

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Begin to send it."""
        if (
            len(self._body) >= LARGE
            or self._keep_alive is not None
            or not request.keep_alive
            or request.version != HttpVersion11
            or request.method == hdrs.METH_HEAD
            or (isinstance(request, web.Request) and request.app.on_response_prepare)
        ):
            return await super().prepare(request)
        self._req, self._keep_alive, self._at_once = request, True, True
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it, or what is left of it."""
        if not self._at_once:
            return await super().write_eof(data)
        if not self._eof_sent:
            self._eof_sent = True
            assert self._req is not None
            transport = self._req.transport
            if transport is None:
                raise ClientConnectionResetError("the client went away")
            headers = self._headers
            headers[hdrs.CONTENT_LENGTH] = str(len(self._body))
            headers[hdrs.DATE] = _date()
            headers[hdrs.SERVER] = SERVER_SOFTWARE
            transport.write(_serialize_headers(f"HTTP/1.1 {self._status} {self._reason}", headers) + self._body)
        return None


def json_answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> JsonAnswer:
    """The response whose body is `value`."""
    return JsonAnswer(json.encode_bytes(value), status=status, headers=headers)


def next_page(request: web.Request, cursor: str | None) -> dict[str, str]:
    """The header that leads to the page after this one (RFC 8288); none on the last."""
    if cursor is None:
        return {}
    query = urlencode({**request.query, "cursor": cursor})
    return {"Link": f'<{request.rel_url.raw_path}?{query}>; rel="next"'}


def _date() -> str:
    """This second, as HTTP writes it (RFC 9110, section 5.6.7)."""
    global _this_second
    second = int(time.time())
    if second != _this_second[0]:
        _this_second = (second, formatdate(second, usegmt=True))
    return _this_second[1]


_this_second = (-1, "")

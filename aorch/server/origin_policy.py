"""Protection against other websites: checks of `Host` and `Origin`, and CORS.

Every web page in the user's browser can reach a server on a loopback address: through a domain that resolves to 127.0.0.1
(DNS rebinding), or through a cross-origin request. So `Host` must name this machine, and `Origin`, which browsers send, must
be this server or one of `cors_origins`. On other addresses both headers may have any value, because a proxy can set them.
There, tokens protect the server, because browsers never add tokens by themselves.
"""

import re

from aiohttp import hdrs, web

from aorch.config.sections import ServeConfig
from aorch.errors import ConfigInvalid
from aorch.server.authentication import is_loopback
from aorch.server.problems import HttpError

PREFLIGHT_S = 600
"""How long a browser may cache the answer to a preflight request."""

_ORIGIN = re.compile(r"https?://[^/\s*]+")
_LOCAL = r"localhost|127(?:\.\d{1,3}){3}|\[::1\]"
_ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID, traceparent, tracestate"
_EXPOSED_HEADERS = "Idempotency-Replayed, Link, Retry-After, WWW-Authenticate, X-Request-ID"


class OriginPolicy:
    """Checks `Host` and `Origin` on a loopback address, and adds CORS headers for the configured origins.

    Raises ConfigInvalid for an invalid origin.
    """

    def __init__(self, settings: ServeConfig, address: str) -> None:
        for origin in settings.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigInvalid(
                    f"serve.cors_origins: invalid origin {origin!r}", "Write it as browsers do: https://example.org"
                )
        self._origins = frozenset(settings.cors_origins)
        self._hosts = None
        if is_loopback(address):
            self._hosts = re.compile(
                rf"(?:{_LOCAL}|{re.escape(settings.host)})(?::\d{{1,5}})?", re.ASCII | re.IGNORECASE
            )

    def add_to(self, app: web.Application) -> None:
        """Add CORS headers to every response of `app`, if any origin is configured."""
        if self._origins:
            app.on_response_prepare.append(self._add_headers)

    def check(self, request: web.Request) -> None:
        """Raise HttpError: 421 for a `Host` that is not this machine, 403 for an `Origin` that is not allowed.

        421 (RFC 9110, sections 7.4 and 15.5.20): the request names an authority that this server does not serve.
        """
        if self._hosts is None:
            return
        headers = request.headers
        host = headers.get(hdrs.HOST, "")
        if self._hosts.fullmatch(host) is None:
            raise HttpError(
                421, "misdirected", f"this server does not serve the host {host!r}", "Use 127.0.0.1 or localhost."
            )
        origin = headers.get(hdrs.ORIGIN)
        if origin is not None and origin not in self._origins and origin.partition("://")[2] != host:
            hint = "Add the origin to serve.cors_origins in aorch.toml."
            raise HttpError(403, "origin_refused", f"the origin {origin!r} is not allowed", hint)

    def preflight(self, request: web.Request, error: BaseException) -> web.Response | None:
        """Return the response to a CORS preflight request; None if `request`, which failed with `error`, is not one."""
        if not (
            isinstance(error, web.HTTPMethodNotAllowed)
            and request.method == hdrs.METH_OPTIONS
            and request.headers.get(hdrs.ORIGIN) in self._origins
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        ):
            return None
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(error.allowed_methods)),
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _ALLOWED_HEADERS,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_S),
        }
        return web.Response(status=204, headers=headers)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in self._origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED_HEADERS

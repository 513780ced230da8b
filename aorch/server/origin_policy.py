"""What a request must not be, whoever sends it: a stranger's web page, or one of too many.

A server on a loopback address is reached by every page that its user's browser shows: by a name that its owner lets point
to 127.0.0.1 (DNS rebinding), or by a request across origins. So `Host` must name this machine, and `Origin`, which browsers
send, this server or one of `cors_origins`. Elsewhere both may be anything: a proxy may set them, and tokens, which no
browser adds by itself, are what protects.
"""

import re
import time
from math import ceil

from aiohttp import hdrs, web

from aorch.config.settings import ServeConfig
from aorch.errors import ConfigInvalid
from aorch.server.authentication import is_loopback
from aorch.server.problems import Refusal

BURST = 10
"""Seconds' worth of requests that a caller may send at once."""
MOST_CALLERS = 20_000
"""Callers whose rate is known, at most twice; what more there are of them push the longest silent ones out."""
PREFLIGHT_S = 600
"""How long a browser may remember what it was allowed."""

_ORIGIN = re.compile(r"https?://[^/\s*]+")
_LOCAL = r"localhost|127(?:\.\d{1,3}){3}|\[::1\]"
_TAKEN = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID, traceparent, tracestate"
_SHOWN = "Idempotency-Replayed, Link, Retry-After, WWW-Authenticate, X-Request-ID"


class Guard:
    """Checks `Host` and `Origin` where the server listens on a loopback address, and speaks CORS where that is configured.

    Raises ConfigInvalid for an origin that is none.
    """

    def __init__(self, settings: ServeConfig, address: str) -> None:
        for origin in settings.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigInvalid(
                    f"serve.cors_origins: {origin!r} is no origin", "Write it as a browser does: https://example.org"
                )
        self._origins = frozenset(settings.cors_origins)
        self._hosts = None
        if is_loopback(address):
            self._hosts = re.compile(
                rf"(?:{_LOCAL}|{re.escape(settings.host)})(?::\d{{1,5}})?", re.ASCII | re.IGNORECASE
            )

    def add_to(self, app: web.Application) -> None:
        """Let every answer of `app` carry its CORS headers, where there are any."""
        if self._origins:
            app.on_response_prepare.append(self._allow)

    def check(self, request: web.Request) -> None:
        """Raises Refusal: 421 for a `Host` that is not this machine, 403 for an `Origin` that may not call.

        421 (RFC 9110, section 7.4 and 15.5.20): the request is for an authority that this server is not.
        """
        if self._hosts is None:
            return
        headers = request.headers
        host = headers.get(hdrs.HOST, "")
        if self._hosts.fullmatch(host) is None:
            raise Refusal(
                421, "misdirected", f"this is not the server of {host!r}", "Call it as 127.0.0.1 or localhost."
            )
        origin = headers.get(hdrs.ORIGIN)
        if origin is not None and origin not in self._origins and origin.partition("://")[2] != host:
            raise Refusal(403, "origin_refused", f"pages of {origin!r} may not call", "Add it to serve.cors_origins.")

    def preflight(self, request: web.Request, error: BaseException) -> web.Response | None:
        """The answer to a browser that asks whether it may call; None where `request`, refused with `error`, is no such."""
        if not (
            isinstance(error, web.HTTPMethodNotAllowed)
            and request.method == hdrs.METH_OPTIONS
            and request.headers.get(hdrs.ORIGIN) in self._origins
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        ):
            return None
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(error.allowed_methods)),
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _TAKEN,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_S),
        }
        return web.Response(status=204, headers=headers)

    async def _allow(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in self._origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _SHOWN


class RateLimit:
    """A token bucket for each caller: `rate_per_s` on average, BURST seconds' worth at once.

    A bucket is kept as the moment at which it is full again. One that nobody took from for BURST seconds is full, which is
    the same as none: every BURST seconds those that were not used since the last time are forgotten.
    """

    def __init__(self, rate_per_s: float) -> None:
        self._cost_s = 1 / rate_per_s
        self._most_s = max(BURST, self._cost_s) + 1e-6
        self._full_at: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._turn_at = 0.0

    def take(self, caller: str) -> None:
        """Count one request of `caller`. Raises Refusal (429), which says when the next one may come."""
        moment = time.monotonic()
        if moment >= self._turn_at or len(self._full_at) >= MOST_CALLERS:
            self._before, self._full_at = self._full_at, {}
            self._turn_at = moment + self._most_s
        full_at = self._full_at.get(caller) or self._before.get(caller, 0.0)
        full_at = max(full_at, moment) + self._cost_s
        wait_s = full_at - moment - self._most_s
        if wait_s > 0:
            raise Refusal(
                429,
                "too_many",
                f"more than {1 / self._cost_s:g} requests a second",
                f"The next may come in {wait_s:.3g} s.",
                Retry_After=str(ceil(wait_s)),
            )
        self._full_at[caller] = full_at

"""The middleware: processes every request before and after its route."""

import asyncio
import re
import time
from typing import NamedTuple

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import istr

import aorch
from aorch.errors import AgentCancelled, AorchError
from aorch.ids import new_id
from aorch.server.access_log import RequestLog
from aorch.server.authentication import PUBLIC
from aorch.server.limits import RateLimit
from aorch.server.origin_policy import OriginPolicy
from aorch.server.problems import HttpError, from_aiohttp, problem_response, server_stopped
from aorch.server.request_body import body_broken
from aorch.server.request_context import CONTEXT, RequestContext, Services, services_of

REQUEST_ID = istr("X-Request-ID")
VERSION = istr("Aorch-Version")
"""A client of aorch sends its version, and gets that of the server."""
SERVER_NAME = "aorch"
"""The header `Server`. It contains no versions, which would only help attackers."""

_BODY_UNREAD = frozenset({408, 413})
"""Statuses of responses that are sent before the body has arrived completely."""
_VALID_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Rule(NamedTuple):
    """What a route needs: a scope; whether its requests count towards `max_concurrent`; its rate limit."""

    scope: str
    counted: bool
    rate: RateLimit | None


def request_middleware(
    services: Services, policy: OriginPolicy, rate: RateLimit | None, log: RequestLog, rules: dict[Handler, Rule]
) -> Middleware:
    """Return the middleware. It is one function with local variables, because every request pays for its time."""
    authenticator, concurrency, readers = services.authenticator, services.concurrency, services.readers
    running = concurrency.running
    own_version = {VERSION: aorch.__version__}
    no_route = Rule(PUBLIC, True, rate)  # for the pages, and for paths without a route

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        request_id = request.headers.get(REQUEST_ID)
        if not (request_id and _VALID_REQUEST_ID.fullmatch(request_id)):
            request_id = new_id()
        request[CONTEXT] = context = RequestContext(request_id, services)
        try:
            policy.check(request)
            scope, counted, limit = rules.get(handler, no_route)
            if scope != PUBLIC and authenticator.refresh_at <= started:
                await authenticator.refresh(readers)
            if not (scope == PUBLIC or authenticator.open):
                context.caller = authenticator.authenticate(request, scope)
                context.log_fields["caller"] = context.caller.name
            if limit is not None:
                limit.take(context.caller.caller_id or request.remote or "")
            task = concurrency.enter(counted=counted)
            try:
                response = await handler(request)
            finally:
                running.discard(task)
        except (Exception, asyncio.CancelledError) as error:
            if request.writer.output_size:
                raise  # a stream that has started can only be cut off
            response = policy.preflight(request, error) or _error_response(error, request, rate)
        if not response.prepared:
            response.headers[REQUEST_ID] = request_id
            response.headers[hdrs.SERVER] = SERVER_NAME
            response.headers.update(own_version if VERSION in request.headers else {})
            if concurrency.closing:
                response.force_close()  # the next request should go to another server
        duration_ms = (time.perf_counter() - started) * 1000
        log.write(request.method, request.raw_path, response.status, duration_ms, request_id, context.log_fields)
        return response

    return handle


def _error_response(
    error: Exception | asyncio.CancelledError, request: web.Request, rate: RateLimit | None
) -> web.Response:
    response = problem_response(_translated(error, request, rate))
    if response.status in _BODY_UNREAD or request.content.exception() is not None:
        response.force_close()  # the rest of the body arrives before the next request
    return response


def _translated(error: Exception | asyncio.CancelledError, request: web.Request, rate: RateLimit | None) -> AorchError:
    """Return the error to send for `error`.

    Raises it if it is a cancellation for another reason than the stop of the server.
    """
    if isinstance(error, AorchError):
        return _counted(error, request, rate) if error.http_status == 401 and rate is not None else error
    if isinstance(error, asyncio.CancelledError):
        if not services_of(request).concurrency.closing:
            raise error
        return server_stopped()
    if isinstance(error, web.HTTPException):
        return from_aiohttp(error)
    if isinstance(error, web.RequestPayloadError):
        return body_broken()
    if isinstance(error, ConnectionError):
        return AgentCancelled("the client closed the connection")
    request_id = request[CONTEXT].request_id
    request.app.logger.error("request %s failed", request_id, exc_info=error)
    return internal_error(request_id)


def internal_error(request_id: str) -> AorchError:
    """Return the error for a bug of the server."""
    return AorchError(
        "internal error; the server's log has the traceback", f"Report it with the request ID {request_id}."
    )


def _counted(error: AorchError, request: web.Request, rate: RateLimit) -> AorchError:
    """Count a missing or wrong token towards the rate of its address. Return `error`, or the 429 if that is exceeded."""
    try:
        rate.take(request.remote or "")
    except HttpError as too_many:
        return too_many
    return error

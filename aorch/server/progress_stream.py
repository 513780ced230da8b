"""The answer to a task as server-sent events: what its agent reports while it works, and then the result."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web

from aorch import jsonio
from aorch.errors import AorchError
from aorch.server.fast_path import JsonResponse
from aorch.server.problems import problem_response, server_stopped
from aorch.server.request_context import CONTEXT, services_of
from aorch.server.sse import HEADERS, KEEP_ALIVE_S

OnProgress = Callable[[Any], None]
"""Called with what an agent reports while it works."""
MOST_PENDING_BYTES = 1024 * 1024
"""Maximum bytes of progress that wait for a slow client. Beyond it, older progress is dropped, and the event `skipped` has
the number of dropped reports.
"""


def wants_events(request: web.Request) -> bool:
    """Whether the client asks for server-sent events."""
    return "text/event-stream" in request.headers.get(hdrs.ACCEPT, "")


class _Progress:
    """The events that were not sent yet."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self._pending: deque[bytes] = deque()
        self._size = self._skipped = 0

    def add(self, progress: Any) -> None:
        event = _event("progress", jsonio.encode(progress))
        self._pending.append(event)
        self._size += len(event)
        while self._size > MOST_PENDING_BYTES:
            self._size -= len(self._pending.popleft())
            self._skipped += 1
        self.woken.set()

    def take(self) -> bytes:
        """All pending events."""
        skipped = _event("skipped", f'{{"count":{self._skipped}}}') if self._skipped else b""
        taken = skipped + b"".join(self._pending)
        self._pending.clear()
        self._size = self._skipped = 0
        self.woken.clear()
        return taken


async def stream_answer(
    request: web.Request, perform: Callable[[OnProgress], Awaitable[JsonResponse]]
) -> web.StreamResponse:
    """Send the events `progress` while `perform` runs, which gets a function for them, and then `result`, or `error` with a
    problem, with the body that the ordinary response would have. Before an answer that was stored already comes `replayed`.
    The task goes on if the client disconnects.
    """
    progress = _Progress()
    performing = asyncio.ensure_future(perform(progress.add))
    performing.add_done_callback(lambda _: progress.woken.set())
    response = web.StreamResponse(headers=HEADERS)
    await asyncio.sleep(0)
    if performing.done():  # an invalid request has its ordinary response
        return performing.result()
    try:
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await response.write(b":\n\n")  # otherwise the headers wait for the first event
            while not performing.done():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        await progress.woken.wait()
                await response.write(progress.take() or b":\n\n")
        answer = await performing
    except AorchError as error:
        answer = problem_response(error)
    except asyncio.CancelledError:
        if not (response.prepared and services_of(request).concurrency.closing):
            raise
        answer = problem_response(server_stopped())
    finally:
        performing.cancel()
    with contextlib.suppress(ConnectionError):
        name = "result" if answer.status < 400 else "error"
        replayed = _event("replayed", "{}") if "Idempotency-Replayed" in answer.headers else b""
        await response.write(progress.take() + replayed + _event(name, answer.text or ""))
    return response


async def stream_items(request: web.Request, name: str, items: AsyncGenerator[Any, None]) -> web.StreamResponse:
    """Send each of `items` as an event `name`, and then `end`, or `error` with a problem.

    An error before the first item has its ordinary response. If the client disconnects, `items` is closed.
    """
    async with contextlib.aclosing(items):
        headers = {**HEADERS, "X-Request-ID": request[CONTEXT].request_id}
        response, upcoming = web.StreamResponse(headers=headers), asyncio.ensure_future(anext(items, None))
        try:
            await asyncio.wait((upcoming,), timeout=KEEP_ALIVE_S)
            if upcoming.done():
                upcoming.result()  # an error is the ordinary response
            await response.prepare(request)
            while True:
                while not (await asyncio.wait((upcoming,), timeout=KEEP_ALIVE_S))[0]:
                    await response.write(b":\n\n")
                if (item := upcoming.result()) is None:
                    break
                await response.write(_event(name, jsonio.encode(item)))
                upcoming = asyncio.ensure_future(anext(items, None))
            await response.write(_event("end", "{}"))
        except AorchError as error:
            if not response.prepared:
                raise
            await response.write(_event("error", problem_response(error).text or ""))
        except ConnectionError:
            pass
        finally:
            upcoming.cancel()
            await asyncio.wait((upcoming,))
    return response


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()

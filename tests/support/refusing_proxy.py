"""An HTTP proxy that refuses some requests itself, as one with limits of its own does."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
from aiohttp import web

Answer = tuple[int, str]
"""A status and a body, which is no document of aorch."""


@asynccontextmanager
async def refusing(server: str, refusal: Callable[[str, int], Answer | None]) -> AsyncIterator[str]:
    """The URL of a proxy to `server`. `refusal` gets the path and the number of bytes of each request; None: it is forwarded."""
    async with httpx.AsyncClient(base_url=server, timeout=60, trust_env=False) as client:

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            if (refused := refusal(request.path, len(body))) is not None:
                return web.Response(status=refused[0], text=refused[1])
            headers = {
                name: request.headers[name] for name in ("Content-Type", "Authorization") if name in request.headers
            }
            answer = await client.request(request.method, request.path_qs, content=body, headers=headers)
            return web.Response(status=answer.status_code, body=answer.content, content_type="application/json")

        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

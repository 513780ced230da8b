"""Sending one webhook."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import aiohttp

from aorch.errors import ServiceUnreachable

TIMEOUT_S = 15.0
"""How long its receiver may take (https://www.standardwebhooks.com advises 15 to 30)."""


class Poster:
    """Sends webhooks, inside an `async with` block. Redirects are not followed: what is signed goes where it was meant to."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), headers={"User-Agent": "aorch"}, trust_env=True
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """POST `body` as JSON. Raises ServiceUnreachable, which says why, for every answer but a 2xx."""
        given = {**headers, "Content-Type": "application/json"}
        try:
            async with self._session.post(url, data=body, headers=given, allow_redirects=False) as answer:
                if not 200 <= answer.status < 300:
                    raise ServiceUnreachable(f"answered {answer.status}")
        except TimeoutError as error:
            raise ServiceUnreachable(f"gave no answer within {TIMEOUT_S:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ServiceUnreachable(f"{type(error).__name__}: {error}") from error

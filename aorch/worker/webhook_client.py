"""Sending one webhook."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import aiohttp

from aorch.errors import ServiceRefused, ServiceUnreachable
from aorch.net.http_client import HttpClient
from aorch.net.outbound import AddressPolicy, refusal_in
from aorch.net.retry_after import retry_after_s

TIMEOUT_S = 15.0
"""How long the receiver may take (https://www.standardwebhooks.com advises 15 to 30 s)."""


class Poster:
    """Sends webhooks to `addresses`, inside an `async with` block, through `proxy` if it is not empty.

    Redirects are not followed: a signed webhook goes only to its own URL.
    """

    def __init__(self, addresses: AddressPolicy, proxy: str = "") -> None:
        self._addresses, self._proxy = addresses, proxy

    async def __aenter__(self) -> Self:
        self._client = HttpClient(TIMEOUT_S, proxy=self._proxy, addresses=self._addresses)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, float]:
        """POST `body` as JSON. Returns the status of the response, and the pause that the receiver requests (seconds).
        Raises ServiceUnreachable if there is no response, and ServiceRefused if this URL can never work; both contain the
        reason.
        """
        given = {**headers, "Content-Type": "application/json"}
        try:
            async with self._client.request("POST", url, data=body, headers=given) as answer:
                return answer.status, retry_after_s(answer.headers.get("Retry-After", ""))
        except TimeoutError as error:
            raise ServiceUnreachable(f"gave no answer within {TIMEOUT_S:g} s") from error
        except OSError as error:  # this includes rejected certificates, whose error is also a ValueError
            if (refusal := refusal_in(error)) is not None:
                raise ServiceRefused(f"was not called: {refusal}") from error
            raise ServiceUnreachable(f"{type(error).__name__}: {error}") from error
        except ValueError as error:  # aiohttp.InvalidURL is one of them
            raise ServiceRefused(f"has an invalid URL: {error}") from error
        except aiohttp.ClientError as error:
            raise ServiceUnreachable(f"{type(error).__name__}: {error}") from error

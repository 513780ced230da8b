"""Webhooks: signed requests that notify a receiver of the end of a task.

They are retried until the receiver accepts them.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aorch import jsonio
from aorch.agents.failure import described
from aorch.backoff import Backoff
from aorch.clock import now, rfc3339, seconds_until
from aorch.config import settings
from aorch.config.settings import Config, callers_addresses
from aorch.engine.supervision import Turned, ignore_turns
from aorch.engine.waiter import ResponseWaiter
from aorch.errors import (
    AorchError,
    ConfigInvalid,
    InvalidJSON,
    LedgerError,
    NotFound,
    ServiceRefused,
    ServiceUnreachable,
    UsageError,
    WebhooksOff,
)
from aorch.ledger.database import check_exclusive, exclusive
from aorch.ledger.ledger import DueWebhook, Ledger
from aorch.net.addresses import fault_of, holds_credentials
from aorch.net.outbound import OWNER, AddressPolicy
from aorch.worker.webhook_receivers import Receivers

if TYPE_CHECKING:
    from aorch.worker.webhook_client import Poster

POLL_S = 0.18
"""How soon a webhook is sent once its task has ended."""
LONGEST_SLEEP_S = 60.0
"""How late a webhook may be sent if the machine's clock is set forward."""
FIRST_WAIT_S, LONGEST_WAIT_S, JITTER = 5.0, 3600.0, (1.0, 1.2)
NEXT_SENDER_S = 1.0
"""How soon another process takes over sending if the sending process has ended, or its ledger failed."""
MAX_ATTEMPTS = 10
"""Attempts before a webhook is given up, after about an hour and a half. Its row in `webhooks` stays, with the reason."""
AT_ONCE = 32
"""Number of webhooks to send at once. webhook_receivers.py limits how many of them go to the same host."""
LONGEST_RETRY_AFTER_S = 86_400.0
"""Maximum `Retry-After` of a receiver that is honoured."""
GONE = 410
"""The status that tells the sender to stop sending to this URL (Standard Webhooks)."""
PREFIX = "whsec_"


def check_webhook(config: Config, url: str) -> None:
    """Raises WebhooksOff if no signing secret is configured, and UsageError for a URL that can never work or that contains a
    password.
    """
    if secret(config) is None:
        raise WebhooksOff(
            "webhooks are off: no secret is configured to sign them",
            "Set queue.webhook_secret_env in aorch.toml to the name of an environment variable, and put the secret in it.",
        )
    if fault := fault_of(url):
        raise UsageError(f"invalid webhook URL: {fault}", "Write http://HOST/PATH or https://HOST/PATH.")
    if holds_credentials(url):
        raise UsageError(
            "the webhook URL contains a user name or a password", "Remove it; webhooks are signed instead."
        )


def secret(config: Config) -> bytes | None:
    """The secret that signs webhooks; None if none is configured. Raises ConfigInvalid."""
    given = settings.webhook_secret(config)
    if not given:
        return None
    if not given.startswith(PREFIX):
        return given.encode()
    try:
        return base64.b64decode(given.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        name = config.queue.webhook_secret_env
        raise ConfigInvalid(f"{name} starts with {PREFIX}, but the rest is not base64") from error


def signed(key: bytes, webhook_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers of a webhook (https://www.standardwebhooks.com, version 1): HMAC-SHA256 of id, seconds and body."""
    mac = hmac.new(key, b".".join((webhook_id.encode(), str(seconds).encode(), body)), hashlib.sha256)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{base64.b64encode(mac.digest()).decode()}",
    }


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt failed. `permanent`: it is not retried; `gone`: all webhooks for this URL are given up; `silent`:
    there was no response; `pause_s`: the pause that the receiver asked for.
    """

    reason: str
    permanent: bool = False
    gone: bool = False
    silent: bool = False
    pause_s: float = 0.0


class Webhooks:
    """Sends the due webhooks of `ledger`, signed with `key`. Only one process per ledger sends at a time.

    `addresses` are those that receivers may have. `proxy` is the address of an HTTP proxy, if any. `first_wait_s` (seconds) is
    the pause after the first attempt.
    """

    def __init__(
        self,
        ledger: Ledger,
        key: bytes,
        report: Callable[[AorchError], None],
        *,
        addresses: AddressPolicy = OWNER,
        proxy: str = "",
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._ledger = ledger
        self._key = key
        self._report = report
        self._addresses, self._proxy = addresses, proxy
        self._backoff = Backoff(first_wait_s, LONGEST_WAIT_S, JITTER)
        self._receivers = Receivers()
        self._waiter = ResponseWaiter(ledger.path)
        self._in_flight: dict[str, asyncio.Task[None]] = {}

    @classmethod
    def configured(cls, config: Config, ledger: Ledger, report: Callable[[AorchError], None]) -> "Webhooks | None":
        """The webhooks of `ledger` as configured; None if no secret is configured. Raises ConfigInvalid for an invalid one."""
        key = secret(config)
        if key is None:
            return None
        return cls(ledger, key, report, addresses=callers_addresses(config), proxy=config.queue.webhook_proxy)

    async def run(self, turned: Turned = ignore_turns) -> None:
        """Send webhooks until cancelled. A loop for supervision.py."""
        from aorch.worker.webhook_client import Poster  # noqa: PLC0415  aiohttp takes 190 ms

        self._waiter = ResponseWaiter(self._ledger.path)
        try:
            async with Poster(self._addresses, self._proxy) as poster:
                while True:
                    with exclusive(self._ledger.path, "webhooks") as mine:
                        if mine:
                            await self._send_all(poster, turned)
                    turned()
                    await asyncio.sleep(NEXT_SENDER_S)
        finally:
            self._waiter.close()

    async def _send_all(self, poster: "Poster", turned: Turned) -> None:
        """Send webhooks until cancelled, or until the ledger fails (LedgerError). No request is in flight after that."""
        woken = asyncio.Event()
        watcher = self._ledger.changes.watcher(woken.set, POLL_S).start()
        try:
            while True:
                woken.clear()
                check_exclusive(self._ledger.path, "webhooks")
                full, resting = self._receivers.full(), self._receivers.resting()
                due = self._ledger.due_webhooks(now(), AT_ONCE, full, resting)
                turned()
                new = [each for each in due if each.request_id not in self._in_flight]
                for each in new[: AT_ONCE - len(self._in_flight)]:
                    if self._receivers.begin(each.url):
                        self._in_flight[each.request_id] = asyncio.create_task(self._send(poster, each))
                if self._in_flight:
                    tasks = self._in_flight.values()
                    await asyncio.wait(tasks, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._sleep_s()):  # as in registrations.py
                            await woken.wait()
                for request_id in [name for name, task in self._in_flight.items() if task.done()]:
                    self._in_flight.pop(request_id).result()
        finally:
            watcher.stop()
            for task in self._in_flight.values():
                task.cancel()
            await asyncio.gather(*self._in_flight.values(), return_exceptions=True)
            self._in_flight.clear()

    def _sleep_s(self) -> float:
        """The seconds until the next webhook is due, if nothing is committed before."""
        due_at = self._ledger.next_webhook_at()
        wait_s = LONGEST_SLEEP_S if due_at is None else seconds_until(due_at)
        return (
            min(wait_s, LONGEST_SLEEP_S) if wait_s > 0 else POLL_S
        )  # webhooks that are due already wait for their receiver

    async def _send(self, poster: "Poster", due: DueWebhook) -> None:
        failure: _Failure | None = None
        try:
            failure = await self._attempt(poster, due)
        finally:
            self._receivers.end(
                due.url, silent=bool(failure and failure.silent), pause_s=failure.pause_s if failure else 0
            )
        if failure is None:
            return await self._ledger.webhook_sent(due.request_id)
        attempts = due.attempts + 1
        again_at = None if failure.permanent or failure.gone else self._again_at(attempts, failure.pause_s)
        until = f"again at {again_at}" if again_at else "given up"
        if failure.gone:
            until += ", like all others for this URL"
            with self._receivers.giving_up(due.url):
                await self._ledger.webhooks_gone(due.url, failure.reason)
        self._report(ServiceUnreachable(f"webhook of {due.request_id} to {due.url} {failure.reason}; {until}"))
        return await self._ledger.webhook_failed(due.request_id, attempts, again_at, failure.reason)

    async def _attempt(self, poster: "Poster", due: DueWebhook) -> "_Failure | None":
        try:
            body = self._body(due.request_id)
            headers = signed(self._key, due.request_id, int(time.time()), body)
            status, retry_after_s = await poster.post(due.url, headers, body)
        except (ServiceRefused, NotFound, InvalidJSON) as error:
            return _Failure(str(error), permanent=True)
        except ServiceUnreachable as error:
            return _Failure(str(error), silent=True)
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001  one webhook that cannot be sent does not hold up the others
            return _Failure(f"could not be sent: {described(error)}")
        if 200 <= status < 300:
            return None
        return _Failure(f"answered {status}", gone=status == GONE, pause_s=min(retry_after_s, LONGEST_RETRY_AFTER_S))

    def _body(self, request_id: str) -> bytes:
        """The body of a webhook. Raises NotFound or InvalidJSON if another program removed or changed the contracts."""
        request = self._waiter.request(request_id)
        answer = self._waiter.answer(request)
        if answer is None:
            raise NotFound(f"{request_id} has no RESPONSE")
        return jsonio.encode_bytes(
            {
                "type": "task.ended",
                "timestamp": answer.timestamp,
                "data": {**answer.as_dict(), "status": request.status},
            }
        )

    def _again_at(self, attempts: int, pause_s: float) -> str | None:
        """When to retry (at the earliest in `pause_s` seconds); None after MAX_ATTEMPTS."""
        if attempts >= MAX_ATTEMPTS:
            return None
        wait_s = max(self._backoff.pause_s(attempts), pause_s)
        return rfc3339(datetime.now(UTC) + timedelta(seconds=wait_s))

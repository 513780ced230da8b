"""Attempts to send a webhook: when, how many at once, and until when."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import receivers
from homes import Home
from queueing import noted, said, working
from receivers import KEY, Receiver, verify
from waiting import WAIT_S, wait_for

from aorch import Orchestrator
from aorch.clock import rfc3339
from aorch.engine.task import QueueOptions, Task
from aorch.errors import AorchError
from aorch.net.outbound import OWNER, AddressPolicy, of_callers
from aorch.net.retry_after import LONGEST_S, retry_after_s
from aorch.worker.queue_worker import QueueWorker
from aorch.worker.webhook_receivers import AT_ONCE_PER_HOST
from aorch.worker.webhooks import MAX_ATTEMPTS, Webhooks

home, receiver = receivers.home, receivers.receiver


@asynccontextmanager
async def sending(
    ledger: Path,
    *,
    senders: int = 1,
    told: list[str] | None = None,
    proxy: str = "",
    addresses: AddressPolicy = OWNER,
) -> AsyncIterator[Orchestrator]:
    """An Orchestrator whose webhooks are sent while the block runs."""
    heard: list[str] = [] if told is None else told

    def tell(error: AorchError) -> None:
        heard.append(str(error))

    async with Orchestrator(ledger) as orchestrator:
        its = orchestrator.executor.ledger
        works = [
            Webhooks(its, KEY, tell, addresses=addresses, proxy=proxy, first_wait_s=0.01).run() for _ in range(senders)
        ]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield orchestrator
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def submit(orchestrator: Orchestrator, url: str, count: int = 1) -> None:
    """Put that many tasks into the queue and do them."""
    tasks = [Task("echo", {"text": str(number)}, "s") for number in range(count)]
    options = QueueOptions(webhook=url)
    await asyncio.gather(*(orchestrator.queue.submit(task, options) for task in tasks))

    def trouble(error: AorchError) -> None:
        raise error

    await QueueWorker(orchestrator.executor, 32, trouble).run(drain=True)


async def until(ask: Callable[[], Any], most_s: float = WAIT_S) -> None:
    """Wait until that is so, at most so many seconds."""
    async with asyncio.timeout(most_s):
        while not ask():  # noqa: ASYNC110  what it waits for is in a file, or in another thread
            await asyncio.sleep(0.01)


def left(home: Home) -> list[tuple[Any, ...]]:
    """The webhooks that are not sent."""
    return home.rows("SELECT url, attempts, due_at, error FROM webhooks")


async def test_a_refusal_is_tried_again_with_the_same_id_until_it_is_taken(home: Home, receiver: Receiver) -> None:
    receiver.statuses = [500, 302, 404, 200]
    told: list[str] = []
    async with sending(home.ledger, told=told) as orchestrator:
        await submit(orchestrator, receiver.url)
        await until(lambda: not left(home))
    assert [path for path, *_ in receiver.taken] == ["/hook"] * 4
    assert len({headers["webhook-id"] for _, headers, _ in receiver.taken}) == 1
    assert len({body for *_, body in receiver.taken}) == 1
    assert all(verify(headers, body) for _, headers, body in receiver.taken)
    assert ["500" in told[0], "302" in told[1], "404" in told[2]] == [True] * 3
    assert "again at" in told[0]


@pytest.mark.torture
async def test_a_receiver_that_is_down_is_tried_until_it_is_given_up(home: Home) -> None:
    told: list[str] = []
    async with sending(home.ledger, told=told) as orchestrator:
        await submit(orchestrator, "http://127.0.0.1:9/")
        await until(lambda: len(told) == MAX_ATTEMPTS, 60)
    ((url, attempts, due_at, error),) = left(home)
    assert (url, attempts, due_at) == ("http://127.0.0.1:9/", MAX_ATTEMPTS, None)
    assert "127.0.0.1:9" in error
    assert "given up" in told[-1]


async def test_eight_are_under_way_to_a_host_and_no_more(home: Home, receiver: Receiver) -> None:
    receiver.hold.clear()
    async with sending(home.ledger) as orchestrator:
        await submit(orchestrator, receiver.url, 20)
        await until(lambda: receiver.inside == AT_ONCE_PER_HOST)
        receiver.hold.set()
        await until(lambda: not left(home))
    assert receiver.most_inside == AT_ONCE_PER_HOST
    assert len({headers["webhook-id"] for _, headers, _ in receiver.taken}) == len(receiver.taken) == 20


async def test_receivers_that_hang_do_not_hold_up_another(home: Home, receiver: Receiver) -> None:
    silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    async with sending(home.ledger) as orchestrator:
        for each in silent:
            await submit(orchestrator, f"http://127.0.0.1:{each.getsockname()[1]}/", 40)
        await submit(orchestrator, receiver.url, 10)
        await until(lambda: len(receiver.taken) == 10)
    for each in silent:
        each.close()


async def test_a_receiver_that_is_gone_is_not_called_again(home: Home, receiver: Receiver) -> None:
    receiver.statuses = [410]
    told: list[str] = []
    async with sending(home.ledger, told=told) as orchestrator:
        await submit(orchestrator, receiver.url)
        await until(lambda: told)
        await until(lambda: left(home)[0][1] == 1)
        assert [(attempts, due_at, error) for _, attempts, due_at, error in left(home)] == [(1, None, "answered 410")]
        assert told[0].endswith("given up, like all others for this URL")
        receiver.statuses = [500] * AT_ONCE_PER_HOST + [410]
        receiver.taken.clear()
        receiver.hold.clear()
        await submit(orchestrator, receiver.url, 20)
        receiver.hold.set()
        await until(lambda: all(error == "answered 410" for *_, error in left(home)))
    assert len(receiver.taken) < 20


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 2001 00:00:00 +99999999999999", 0),
        ("9" * 400, LONGEST_S),
        ("soon", 0),
    ],
)
def test_a_pause_is_at_most_a_year_and_none_if_it_is_invalid(said: str, seconds: float) -> None:
    assert retry_after_s(said) == seconds


def test_a_date_of_http_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    soon = datetime.now(UTC) + timedelta(hours=2)
    try:
        assert 7100 < retry_after_s(f"{soon:%a, %d %b %Y %H:%M:%S} -0000") <= 7200
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.fixture
def unknown_certificate(tmp_path: Path) -> Iterator[str]:
    """The URL of a server whose certificate nobody vouches for."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    making = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*making, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a handshake that its client ends is no news
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}/hook"
    server.shutdown()
    server.server_close()
    thread.join(WAIT_S)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="it makes the certificate")
async def test_a_certificate_that_is_not_accepted_may_be_renewed_so_it_is_tried_again(
    home: Home, unknown_certificate: str
) -> None:
    told: list[str] = []
    async with sending(home.ledger, told=told) as orchestrator:
        await submit(orchestrator, unknown_certificate)
        await until(lambda: len(told) >= 2)
    assert all("certificate verify failed" in each and "; again at" in each for each in told)


async def test_a_receiver_that_names_a_pause_is_not_called_before(home: Home, receiver: Receiver) -> None:
    """Neither for the webhook that it answered so, nor for another to the same URL."""
    receiver.statuses, receiver.retry_after = [429], "3600"
    told: list[str] = []
    async with sending(home.ledger, told=told) as orchestrator:
        await submit(orchestrator, receiver.url)
        await until(lambda: told)
        await submit(orchestrator, receiver.url)
        await submit(orchestrator, f"{receiver.url}/other")
        await until(lambda: sum(attempts for _, attempts, *_ in left(home)) == len(told) == 2)
    assert [path for path, *_ in receiver.taken] == ["/hook", "/hook/other"]
    soonest = rfc3339(datetime.now(UTC) + timedelta(seconds=3500))
    assert sorted((attempts, (due_at or "") > soonest) for _, attempts, due_at, _ in left(home)) == [
        (0, False),
        (1, True),
        (1, True),
    ]


def test_a_webhook_takes_nothing_from_the_environment(home: Home, receiver: Receiver) -> None:
    """Neither a password of ~/.netrc, nor a proxy: only `webhook_proxy` would be one."""
    netrc = home.write(".netrc", "default login ann password secret\n")
    netrc.chmod(0o600)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        home.environment[name] = "http://127.0.0.1:9"
    home.aorch("run", "note", "--detach", "--webhook", receiver.url)
    with working(home):
        wait_for(lambda: receiver.taken)
    assert "authorization" not in receiver.taken[0][1]


async def test_a_configured_proxy_is_used_except_for_this_machine(home: Home, receiver: Receiver) -> None:
    proxy = receiver.url.removesuffix("/hook")
    async with sending(home.ledger, proxy=proxy) as orchestrator:
        await submit(orchestrator, "http://hook.example/far")
        await until(lambda: not left(home))
    async with sending(home.ledger, proxy="http://127.0.0.1:9") as orchestrator:
        await submit(orchestrator, receiver.url)
        await until(lambda: not left(home))
    assert [path for path, *_ in receiver.taken] == ["http://hook.example/far", "/hook"]


async def test_several_senders_send_each_once(home: Home, receiver: Receiver) -> None:
    async with sending(home.ledger, senders=3) as orchestrator:
        await submit(orchestrator, receiver.url, 20)
        await until(lambda: not left(home))
    assert len(receiver.taken) == 20


def test_what_is_due_survives_a_kill_and_is_sent_by_another_process(home: Home, receiver: Receiver) -> None:
    receiver.hold.clear()
    home.aorch("run", "note", "--detach", "--webhook", receiver.url)
    with working(home) as first:
        wait_for(lambda: receiver.taken)
        first.kill()
        first.communicate()
    receiver.hold.set()
    with working(home):
        wait_for(lambda: not home.rows("SELECT 1 FROM webhooks"))
    assert noted(home, "note") == [""]
    ((request_id,),) = home.rows("SELECT contract_id FROM contracts WHERE request_id IS NULL")
    assert said(home, request_id)[0] == "completed"
    assert {headers["webhook-id"] for _, headers, _ in receiver.taken} == {request_id}


async def test_a_webhook_to_an_address_that_is_not_allowed_is_given_up(home: Home, receiver: Receiver) -> None:
    async with sending(home.ledger, addresses=of_callers([], listens_on="0.0.0.0")) as orchestrator:
        await submit(orchestrator, receiver.url)
        await until(lambda: left(home)[0][1:3] == (1, None))
    assert receiver.taken == []
    assert "127.0.0.1 is this machine" in left(home)[0][3]

"""Webhooks: whoever asked for it hears of the end of a task, signed, and again until it is taken."""

import asyncio
import base64
import hashlib
import hmac
import json
import math
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from api import problem
from homes import Home
from queueing import furnish, noted, said, working
from serving import serving
from waiting import WAIT_S

from aorch import Orchestrator
from aorch.clock import rfc3339
from aorch.engine.task import QueueOptions, Task
from aorch.errors import AorchError
from aorch.worker.queue_worker import QueueWorker
from aorch.worker.webhook_client import retry_after_s
from aorch.worker.webhook_receivers import AT_ONCE_PER_HOST
from aorch.worker.webhooks import MAX_ATTEMPTS, Webhooks

Wait = Callable[[Callable[[], Any]], Any]

KEY = b"twenty-four-bytes-of-key"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
CONFIG = '[queue]\nwebhook_secret_env = "HOOK_SECRET"\n'


@dataclass
class Receiver:
    """A small real receiver: what it was sent, and what it answers (statuses in turn, the last for ever)."""

    statuses: list[int] = field(default_factory=lambda: [204])
    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    inside: int = 0
    most_inside: int = 0
    retry_after: str = ""
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.hold.set()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> int:
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.taken.append((path, headers, body))
            status = self.statuses[min(len(self.taken), len(self.statuses)) - 1]
        self.hold.wait(20)
        with self.lock:
            self.inside -= 1
        return status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.answer(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            if receiver.retry_after:
                self.send_header("Retry-After", receiver.retry_after)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield receiver
    receiver.hold.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def home(home: Home) -> Home:
    """An empty machine with the queue's agents, and a secret."""
    home.environment["HOOK_SECRET"] = SECRET
    return furnish(home, CONFIG)


def verify(headers: dict[str, str], body: bytes, key: bytes = KEY) -> bool:
    """As https://www.standardwebhooks.com has it."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{signature}"


def test_a_detached_task_tells_its_end_signed(home: Home, receiver: Receiver, wait_for: Wait) -> None:
    done = home.aorch("run", "note", "text=hi", "--detach", "--webhook", receiver.url)
    request_id = done.out.strip()
    with working(home):
        wait_for(lambda: receiver.taken)
        wait_for(lambda: not home.rows("SELECT 1 FROM webhooks"))
    ((path, headers, body),) = receiver.taken
    assert path == "/hook"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == request_id
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert verify(headers, body)
    assert not verify(headers, body + b" ")
    form = json.loads(body)
    assert list(form) == ["type", "timestamp", "data"]
    assert form["type"] == "task.ended"
    assert form["data"] == home.aorch("contracts", "wait", request_id, "--json").json | {"status": "completed"}


def test_a_task_over_http_tells_its_end_and_its_cancellation(home: Home, receiver: Receiver, wait_for: Wait) -> None:
    with serving(home) as server:
        body = {"capability": "note", "session_id": "s", "webhook": receiver.url}
        ids = [
            server.post("/v1/tasks", json=body | more).json()["contract_id"]
            for more in ({}, {"not_before": "2999-01-01T00:00:00Z"})
        ]
        server.post(f"/v1/tasks/{ids[1]}/cancel")
        wait_for(lambda: len(receiver.taken) == 2)
        wait_for(lambda: not home.rows("SELECT 1 FROM webhooks"))
        told = {headers["webhook-id"]: json.loads(body)["data"] for _, headers, body in receiver.taken}
        assert {name: data["status"] for name, data in told.items()} == {ids[0]: "completed", ids[1]: "cancelled"}
        for secret in (SECRET, KEY.decode(), SECRET.removeprefix("whsec_")):
            assert secret not in server.log
            for file in home.folder.glob("ledger.db*"):
                assert file.is_dir() or secret.encode() not in file.read_bytes()


def test_without_a_secret_nothing_is_accepted(home: Home, receiver: Receiver) -> None:
    del home.environment["HOOK_SECRET"]
    done = home.aorch("run", "note", "--detach", "--webhook", receiver.url)
    assert (done.code, done.out) == (2, "")
    assert "webhook_secret_env" in done.err
    with serving(home) as server:
        body = {"capability": "note", "session_id": "s", "webhook": receiver.url}
        assert "webhook_secret_env" in problem(server.post("/v1/tasks", json=body), 403, "webhooks_off")["hint"]
    assert home.rows("SELECT count(*) FROM contracts") == [(0,)]


def test_an_address_that_can_never_work_or_holds_a_password_is_refused(home: Home) -> None:
    impossible = [
        *("ftp://127.0.0.1/", "here", "http://ann:secret@127.0.0.1/", "http:///x", "http://a b/", "http://a.invalid/"),
        *("http://a:0/", "http://a:99999/", "http://256.1.1.1/", "http://224.0.0.1/", "http://-a/", "http://a..b/"),
    ]
    done = home.aorch("run", "note", "--detach", "--webhook", impossible[0])
    assert (done.code, done.out) == (2, "")
    with serving(home) as server:
        for url in impossible:
            body = {"capability": "note", "session_id": "s", "webhook": url}
            refused = server.post("/v1/tasks", json=body)
            assert refused.status_code in (400, 422), url
            assert "secret" not in refused.text
    assert home.rows("SELECT count(*) FROM contracts") == [(0,)]


def test_a_secret_that_is_no_base64_is_told(home: Home) -> None:
    home.environment["HOOK_SECRET"] = "whsec_%%%"
    done = home.aorch("worker", "--drain")
    assert done.code == 2
    assert "HOOK_SECRET" in done.err
    assert "%%%" not in done.err


# In Python, where the waits between attempts are short


@asynccontextmanager
async def sending(
    ledger: Path, *, senders: int = 1, told: list[str] | None = None, proxy: str = ""
) -> AsyncIterator[Orchestrator]:
    """An Orchestrator whose webhooks are sent while the block runs."""
    heard: list[str] = [] if told is None else told

    def tell(error: AorchError) -> None:
        heard.append(str(error))

    async with Orchestrator(ledger) as orchestrator:
        its = orchestrator.executor.ledger
        works = [Webhooks(its, KEY, tell, proxy=proxy, first_wait_s=0.01).run() for _ in range(senders)]
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
        await submit(orchestrator, receiver.url, 20)
        await until(lambda: all(error == "answered 410" for *_, error in left(home)))
    assert len(receiver.taken) < 20


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 2001 00:00:00 +99999999999999", 0),
        ("9" * 400, math.inf),
        ("soon", 0),
    ],
)
def test_a_pause_that_nobody_can_name_is_none(said: str, seconds: float) -> None:
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
    thread.join(5)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="it makes the certificate")
async def test_a_certificate_that_is_not_accepted_may_be_renewed_so_it_is_tried_again(
    home: Home, unknown_certificate: str
) -> None:
    told: list[str] = []
    async with sending(home.ledger, told=told) as orchestrator:
        await submit(orchestrator, unknown_certificate)
        await until(lambda: len(told) == 2)
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
        await until(lambda: len(told) == 2)
    assert [path for path, *_ in receiver.taken] == ["/hook", "/hook/other"]
    soonest = rfc3339(datetime.now(UTC) + timedelta(seconds=3500))
    assert sorted((attempts, (due_at or "") > soonest) for _, attempts, due_at, _ in left(home)) == [
        (0, False),
        (1, True),
        (1, True),
    ]


def test_a_webhook_takes_nothing_from_the_environment(home: Home, receiver: Receiver, wait_for: Wait) -> None:
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


def test_what_is_due_survives_a_kill_and_is_sent_by_another_process(
    home: Home, receiver: Receiver, wait_for: Wait
) -> None:
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

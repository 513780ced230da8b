"""The errors of the OpenAPI document's examples: provoked in a server, or raised by the code that raises them there."""

import contextlib
import gzip
import json
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from http_again_errors import again_errors
from http_example_server import ECHO, LATER, TRANSLATOR, UNKNOWN_ID, WAIT_S, Json, serving
from http_memory_errors import memory_errors
from http_raised_errors import (
    body_of,
    enter_while_stopping,
    exceed_concurrency,
    exceed_rate,
    ledger_error,
    raised,
    writing,
)
from http_work_errors import work_errors

from aorch.config import settings
from aorch.ledger.database import exclusive
from aorch.ledger.task_queue import imported_conflict
from aorch.server.http_protocol import too_many_connections
from aorch.server.middleware import internal_error

ADMIN, READER, OTHER = "the-token-of-an-administrator", "the-token-of-a-reader", "the-token-of-other-agents"
WORKER = "the-token-of-a-worker"
CONFIGURATION = """\
[serve]
token_file = "tokens"
read_timeout_s = 0.5
max_body_bytes = 10000
max_line = 0
[queue]
max_waiting = 10
[agents.translator]
command = ["sh", "-c", "echo 'the model is not loaded' >&2; exit 1"]
capabilities.translate = {}
[agents.sleeper]
command = ["sleep", "30"]
capabilities.sleep = {}
[agents.sitter]
command = ["sleep", "30"]
concurrency = 1
capabilities.sit = {}
[agents.summarizer]
command = ["summarize"]
capabilities.summarize = {}
"""


def record_errors(folder: Path, aorch: list[str]) -> Json:
    """The errors of each operation; those of all requests as `any`, of all with a body, and of all that need a token."""
    (folder / "aorch.toml").write_text(CONFIGURATION)
    (folder / "tokens").write_text(
        f"{ADMIN} admin name=admin\n{READER} read name=reader\n{OTHER} agents name=other\n"
        f"{WORKER} work capabilities=paint name=worker\n"
    )
    (folder / "tokens").chmod(0o600)
    with serving(folder, aorch) as client, ThreadPoolExecutor(4) as threads:
        client.headers["Authorization"] = f"Bearer {ADMIN}"
        recorder = Errors(folder, client, threads)
        return {
            "agent": [client.post("/v1/orchestrate", json={**ECHO, "capability": "translate"}).json()],
            "any": [*recorder.before_routes(), *recorder.any_request()],
            "token": recorder.token(),
            "body": recorder.body(),
            **recorder.of_operations(),
        }


class Errors:
    """Provokes errors of the server that `client` calls."""

    def __init__(self, folder: Path, client: httpx.Client, threads: ThreadPoolExecutor) -> None:
        self.folder, self.client, self.threads = folder, client, threads

    def post(self, path: str, body: Any, **headers: str) -> Json:
        return self.problem(self.client.post(path, json=body, headers=headers))

    def get(self, path: str, **headers: str) -> Json:
        return self.problem(self.client.get(path, headers=headers))

    @staticmethod
    def problem(response: httpx.Response) -> Json:
        assert response.headers["Content-Type"] == "application/problem+json", response.text
        problem: Json = response.json()
        return problem

    def raw(self, *sent: bytes) -> Json:
        """The error that the server sends before it closes the connection."""
        url = self.client.base_url
        with socket.create_connection((url.host, url.port or 80), WAIT_S) as connection:
            with contextlib.suppress(ConnectionError):
                for piece in sent:
                    connection.sendall(piece)
            received = b"".join(iter(lambda: connection.recv(65536), b""))
        problem: Json = json.loads(received.partition(b"\r\n\r\n")[2])
        return problem

    def before_routes(self) -> list[Json]:
        get = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n"
        return [
            self.raw(b"this is not HTTP\r\n\r\n"),
            self.raw(get),
            self.raw(b"GET /v1/health?" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            self.get("/v1/health", Expect="something", Connection="close"),
            self.raw(get + b"X: " + b"x" * 9000 + b"\r\n\r\n"),
            body_of(too_many_connections()),
        ]

    def any_request(self) -> list[Json]:
        return [
            self.get("/v1/health", Origin="https://example.org"),
            self.get("/v1/health", Host="example.org"),
            raised(exceed_rate),
            raised(exceed_concurrency),
            raised(enter_while_stopping),
            body_of(internal_error(UNKNOWN_ID)),
            body_of(ledger_error("disk I/O error", sqlite3.SQLITE_IOERR, "SQLITE_IOERR")),
        ]

    def token(self) -> list[Json]:
        anonymous = self.client.build_request("GET", "/v1/agents")
        del anonymous.headers["Authorization"]
        return [
            self.problem(self.client.send(anonymous)),
            self.get("/v1/agents", Authorization="Bearer another-token-of-20-characters"),
            self.post("/v1/orchestrate", ECHO, Authorization=f"Bearer {READER}"),
        ]

    def body(self) -> list[Json]:
        path, kind = "/v1/orchestrate", {"Content-Type": "application/json"}

        def send(content: bytes, **headers: str) -> Json:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return self.problem(self.client.post(path, content=content, headers={**kind, **named}))

        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n".encode()
        return [
            send(b"{'capability': 'echo'}"),
            send(b'{"session_id": "s", "capability": "echo", "parameters": {"n": NaN}}'),
            send(gzip.compress(b"{}")[:-9], Content_Encoding="gzip"),
            self.raw(head + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"),
            send(b'"' + b"x" * 20_000 + b'"'),
            send(b"capability=echo", Content_Type="application/x-www-form-urlencoded"),
            send(b"", Content_Encoding="br"),
        ]

    def of_operations(self) -> dict[str, list[Json]]:
        unknown = f"/v1/tasks/{UNKNOWN_ID}"
        too_many = self.get("/v1/contracts?limit=1001")
        return {
            **work_errors(self, {"Authorization": f"Bearer {WORKER}"}),
            "erase_content": self.of_erase_content(),
            "orchestrate": self.of_orchestrate(),
            "submit_task": self.of_submit_task(),
            "show_task": [self.get(unknown), self.get(f"{unknown}?wait_s=61")],
            "cancel_task": [
                self.problem(self.client.post(f"{unknown}/cancel")),
                body_of(imported_conflict(UNKNOWN_ID)),
                *writing(),
            ],
            "cancel_sent_task": [
                self.problem(self.client.post("/v1/orchestrate/cancel")),
                self.problem(self.client.post("/v1/orchestrate/cancel", headers={"Idempotency-Key": "two words"})),
                self.problem(self.client.post("/v1/orchestrate/cancel", headers={"Idempotency-Key": '"unused"'})),
                *writing(),
            ],
            "rerun_task": self.of_rerun(),
            **again_errors(self),
            "show_queue": [self.get("/v1/queue?limit=0")],
            "stats": [self.get("/v1/stats?by=x")],
            "show_agent": [self.get("/v1/agents/agent_9")],
            **self.of_registration(),
            "list_exchanges": [self.get("/v1/exchanges?failed=yes")],
            "list_contracts": [too_many],
            "show_contract": [self.get(f"/v1/contracts/{UNKNOWN_ID}")],
            "show_exchange": [self.get(f"/v1/exchanges/{UNKNOWN_ID}")],
            "show_whole_exchange": [self.get(f"/v1/contracts/{UNKNOWN_ID}/exchange")],
            "show_tree": [
                self.get(f"/v1/contracts/{UNKNOWN_ID}/tree"),
                self.get(f"/v1/contracts/{UNKNOWN_ID}/tree?children=0"),
            ],
            "find_contract": [self.get("/v1/contract-ids/zzzzzz"), self.get("/v1/contract-ids/zz")],
            "show_session": [self.get("/v1/sessions/session_9")],
            "list_sessions": [self.get("/v1/sessions?limit=1001")],
            "show_session_tree": [
                self.get("/v1/sessions/session_9/tree"),
                self.get("/v1/sessions/session_9/tree?order=x"),
            ],
            **memory_errors(self),
            "events": [self.get("/v1/events?last_event_id=x")],
        }

    def erased_request(self, path: str, body: Json) -> Json:
        """The error for a request that is sent again after its exchange was erased."""
        key = {"Idempotency-Key": f'"erased {path}"'}
        sent = self.client.post(path, json=body, headers=key).json()["contract_id"]
        self.client.post(f"/v1/tasks/{sent}/cancel")
        assert self.client.delete(f"/v1/contracts/{sent}/content").status_code == 200
        return self.post(path, body, **key)

    def of_rerun(self) -> list[Json]:
        """Those of a task that is run again, when `"k3"` is the key of another task."""

        def rerun(contract_id: str, **headers: str) -> Json:
            return self.problem(self.client.post(f"/v1/tasks/{contract_id}/rerun", headers=headers))

        def sent(**changes: Any) -> str:
            return str(self.client.post("/v1/orchestrate", json={**ECHO, **changes}).json()["contract_id"])

        done, erased = sent(), sent()
        assert self.client.delete(f"/v1/contracts/{erased}/content").status_code == 200
        return [
            rerun(UNKNOWN_ID),
            rerun(done, **{"Idempotency-Key": "two words"}),
            rerun(done, **{"Idempotency-Key": '"k3"'}),
            rerun(erased),
            rerun(sent(capability="paint")),
            rerun(sent(parameters={"text": 3})),
            self.full_queue(f"/v1/tasks/{done}/rerun"),
            *writing(),
        ]

    def of_erase_content(self) -> list[Json]:
        queued = self.client.post("/v1/tasks", json=LATER).json()["contract_id"]

        def erase(contract_id: str, **query: str) -> Json:
            return self.problem(self.client.delete(f"/v1/contracts/{contract_id}/content", params=query))

        found = [erase(UNKNOWN_ID), erase(UNKNOWN_ID, why="a leaked key"), erase(queued)]
        with exclusive(settings.load(self.folder / "ledger.db").ledger, "erasure"):
            self.client.post(f"/v1/tasks/{queued}/cancel")
            found.append(erase(queued))
        return [*found, *writing()]

    def of_registration(self) -> dict[str, list[Json]]:
        register, agent, missing = "/v1/agents/register", "/v1/agents/painter", "/v1/agents/agent_9"
        painter = {**TRANSLATOR, "agent_id": "painter", "capabilities": [{"name": "paint"}]}
        other = {"Authorization": f"Bearer {OTHER}"}
        invalid = [
            {**painter, "endpoint": "http://169.254.169.254/"},
            {**painter, "ttl_s": 0},
            {**painter, "credential": "internal"},
            {"agent_id": "painter", "mcp": "http://127.0.0.1:9/mcp"},
        ]
        conflicts = [{**painter, "agent_id": "sleeper"}, {**painter, "capabilities": [{"name": "echo"}]}]

        def send(method: str, path: str, body: Any = None, *, configured: bool = True) -> list[Json]:
            return [
                self.problem(self.client.request(method, f"{which}{path}", json=body, headers=headers))
                for which, headers in ((missing, {}), (agent, other), ("/v1/agents/sleeper", {}))[: 2 + configured]
            ]

        rejected = [*(self.post(register, each) for each in (*invalid, *conflicts))]
        self.client.post(register, json=painter)
        return {
            "register_agent": [*rejected, self.post(register, painter, **other), *writing()],
            "replace_agent": [
                *send("PUT", "", painter),
                *(self.problem(self.client.put(agent, json=each)) for each in (*invalid, conflicts[1])),
                *writing(),
            ],
            "deregister_agent": [*send("DELETE", ""), *writing()],
            "heartbeat": [*send("POST", "/heartbeat"), *writing()],
            "drain_agent": [*send("POST", "/drain"), *writing()],
            "check_agent": [*send("POST", "/check", configured=False), *writing()],
        }

    def of_orchestrate(self) -> list[Json]:
        path, sleep = "/v1/orchestrate", {**ECHO, "capability": "sleep", "parameters": {}, "session_id": "asleep"}
        running = self.threads.submit(self.client.post, path, json=sleep, headers={"Idempotency-Key": '"k1"'})
        request_id = self.request_in("asleep")
        in_progress = self.post(path, sleep, **{"Idempotency-Key": '"k1"'})
        self.client.post(f"/v1/tasks/{request_id}/cancel")
        self.client.post(path, json=ECHO, headers={"Idempotency-Key": '"k2"'})
        return [
            self.post(path, {"session_id": "session_001"}),
            self.post(path, ECHO, **{"Idempotency-Key": "two words"}),
            self.erased_request(path, ECHO),
            in_progress,
            self.post(path, sleep, **{"Idempotency-Key": '"k2"'}),
            self.post(path, {**ECHO, "capability": "paint"}),
            self.post(path, {**ECHO, "parameters": {"text": 3}}),
            self.post(path, {**ECHO, "parent_id": UNKNOWN_ID}),
            self.post(path, {**ECHO, "capability": "summarize"}),
            self.busy_agent(),
            self.unreachable_agent(),
            self.post(path, {**sleep, "timeout_s": 0.5}),
            self.problem(running.result(WAIT_S)),
            *writing(),
        ]

    def busy_agent(self) -> Json:
        """The error for an agent that runs as many tasks as it may."""
        path, sit = "/v1/orchestrate", {**ECHO, "capability": "sit", "parameters": {}, "session_id": "sitting"}
        running = self.threads.submit(self.client.post, path, json=sit)
        request_id = self.request_in("sitting")
        found = self.post(path, sit)
        self.client.post(f"/v1/tasks/{request_id}/cancel")
        running.result(WAIT_S)
        return found

    def unreachable_agent(self) -> Json:
        """The error for an agent that a check has found offline."""
        self.client.post(
            "/v1/agents/register", json=TRANSLATOR | {"agent_id": "away", "capabilities": [{"name": "go"}]}
        )
        self.client.post("/v1/agents/away/check")
        found = self.post("/v1/orchestrate", {**ECHO, "capability": "go"})
        self.client.delete("/v1/agents/away")
        return found

    def of_submit_task(self) -> list[Json]:
        path, key = "/v1/tasks", {"Idempotency-Key": '"k3"'}
        self.client.post(path, json=LATER, headers=key)
        return [
            self.post(path, {**LATER, "priority": 6}),
            self.post(path, LATER, **{"Idempotency-Key": "two words"}),
            self.post(path, ECHO, **key),
            self.post(path, {**LATER, "webhook": "https://example.org/done"}),
            self.post(path, {**LATER, "capability": "paint"}),
            self.post(path, {**LATER, "parameters": {"text": 3}}),
            self.post(path, {**LATER, "parent_id": UNKNOWN_ID}),
            self.erased_request(path, LATER),
            self.full_queue(),
            *writing(),
        ]

    def full_queue(self, path: str = "/v1/tasks") -> Json:
        """The error for one task more than `queue.max_waiting`, of a request to `path`."""
        while True:
            while self.client.post("/v1/tasks", json=LATER).status_code == 202:
                continue
            response = self.client.post(path, json=LATER)
            if response.status_code != 202:  # otherwise the server has counted the cancelled tasks meanwhile
                return self.problem(response)

    def request_in(self, session_id: str) -> str:
        """The id of the REQUEST in that session, once there is one."""
        ends = time.monotonic() + WAIT_S
        while time.monotonic() < ends:
            found = self.client.get("/v1/contracts", params={"session_id": session_id}).json()["contracts"]
            if found:
                return str(found[0]["contract_id"])
        raise AssertionError(f"no REQUEST in {session_id}")

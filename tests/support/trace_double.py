"""Trace as it really behaves (wire/trace.md), in a process of its own, with a store that outlives it.

One request in flight, reads included: of two at once one gets a 500, though it is stored, and from then on each reply belongs
to the request before, until the process is started anew. Health is not asked of anything. A read of more than 64 KiB of
events, nodes or sessions comes back as empty; one of more than 300 KiB also makes replies lag, as two at once do. `%2F` in a
path gets a 404, a wrong shape a 422 (`modifiers` is a map of numbers). What is stored is never lost.

`python trace_double.py FOLDER PORT`. FOLDER holds `events.jsonl`, `nodes.jsonl`, `collisions` and `large_reads` (a line
for each), and `mode`, which a test writes: what to do with requests of `only` that method (else any) from now on, `times` times
(else ever).
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

LARGEST_READ = 64 * 1024
BREAKS_AT = 300 * 1024


class Backend:
    """What stands behind the wrapper."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.in_flight = 0
        self.lags = False
        self.last: Any = None
        self.files = {
            name: _appending(folder / name) for name in ("events.jsonl", "nodes.jsonl", "collisions", "large_reads")
        }
        self.sizes: dict[tuple[str, str], int] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.nodes: dict[str, list[dict[str, Any]]] = {}
        for event in stored(folder, "events.jsonl"):
            self._keep(event.pop("session_id"), event)
        for node in stored(folder, "nodes.jsonl"):
            self._keep_node(node)

    def mode(self, method: str) -> dict[str, Any]:
        """What to do with a request of that method now."""
        file = self.folder / "mode"
        mode: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        if mode.get("only", method) != method or mode.get("times") == 0:
            return {key: mode[key] for key in ("delay_s", "shift") if key in mode}
        if "times" in mode:
            write_mode(self.folder, mode | {"times": mode["times"] - 1})
        return mode

    def add_event(self, session_id: str, event: dict[str, Any]) -> None:
        event = {"event_id": os.urandom(8).hex(), "timestamp": "2026-01-01T00:00:00Z", **event}
        os.write(self.files["events.jsonl"], json.dumps({"session_id": session_id, **event}).encode() + b"\n")
        self._keep(session_id, event)

    def add_node(self, node: dict[str, Any]) -> None:
        os.write(self.files["nodes.jsonl"], json.dumps(node).encode() + b"\n")
        self._keep_node(node)

    def collided(self, what: str) -> None:
        os.write(self.files["collisions"], f"{what}\n".encode())
        self.lags = True

    def read(self, what: str, session_id: str) -> list[dict[str, Any]]:
        """The events or nodes of a session, or the list of sessions, if the reply is small enough for the wrapper."""
        found = {
            "events": self.events.get(session_id, []),
            "nodes": self.nodes.get(session_id, []),
            "sessions": [{"session_id": name} for name in self.events],
        }[what]
        size = 100 * len(found) if what == "sessions" else self.sizes.get((what, session_id), 0)
        if size > LARGEST_READ:
            os.write(self.files["large_reads"], f"{what} {session_id} {size}\n".encode())
            self.lags |= size > BREAKS_AT
        return [] if size > LARGEST_READ else found

    def _keep(self, session_id: str, event: dict[str, Any]) -> None:
        self.events.setdefault(session_id, []).append(event)
        self._grow("events", session_id, event)

    def _keep_node(self, node: dict[str, Any]) -> None:
        self.nodes.setdefault(node["session_id"], []).append(node)
        self._grow("nodes", node["session_id"], node)

    def _grow(self, what: str, session_id: str, stored: dict[str, Any]) -> None:
        self.sizes[what, session_id] = self.sizes.get((what, session_id), 0) + len(json.dumps(stored))


BACKEND: web.AppKey[Backend] = web.AppKey("backend")


@web.middleware
async def one_at_a_time(request: web.Request, handler: Any) -> web.StreamResponse:
    """The trap: what two at once do. `lag` in the mode: only what is in a reply lags, not the words round it."""
    if request.path == "/v1/health":
        said = {"status": "healthy", "service": "trace-http-wrapper", "version": "1.0.0", "timestamp": "now"}
        return web.json_response(said)
    backend = request.app[BACKEND]
    body = await request.read()
    mode = backend.mode(request.method)
    collides = backend.in_flight > 0
    backend.in_flight += 1
    try:
        if mode.get("answer") == "hang":
            await asyncio.Event().wait()
        await asyncio.sleep(mode.get("delay_s", 0) / 2)
        if mode.get("answer") == 503:
            return web.json_response({"detail": "Trace MCP client not available"}, status=503)
        if mode.get("answer") in (422, 404):
            return web.json_response({"detail": "not processable"}, status=mode["answer"])
        status, content, words = _done(request, backend, body) if mode.get("store", True) else (200, None, {})
        await asyncio.sleep(mode.get("delay_s", 0) / 2)
    finally:
        backend.in_flight -= 1
    if mode.get("answer") == "drop" and request.transport is not None:
        request.transport.abort()
    if status != 200:
        return web.json_response({"detail": content}, status=status)
    before, backend.last = backend.last, (content, words)
    if collides:
        backend.collided(f"{request.method} {request.path}")
    if collides or mode.get("answer") == 500:
        return web.json_response({"detail": "MCP error"}, status=500)
    if backend.lags and before is not None:
        content, lagging = before
        words = words if mode.get("shift") == "content" else lagging
    return web.json_response(_reply(content, words))


def _done(request: web.Request, backend: Backend, body: bytes) -> tuple[int, Any, dict[str, Any]]:
    """Status, content, and the words round it, which the wrapper takes from the question."""
    if "%2f" in request.raw_path.lower():
        return 404, "Not Found", {}
    session_id = request.match_info.get("session_id", "")
    where = request.match_info.route.name
    if where == "sessions":
        return 200, backend.read("sessions", ""), {"list": "sessions"}
    if where in ("events", "nodes"):
        return 200, backend.read(where, session_id), {"session_id": session_id, "list": where}
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    shape: dict[str, Any] = {"event_type": str, "data": dict}
    if where == "node":
        shape = {"session_id": str, "node_id": str, "parent_id": (str, type(None)), "modifiers": dict, "metadata": dict}
    if not isinstance(said, dict) or not all(name in said and isinstance(said[name], shape[name]) for name in shape):
        return 422, "wrong shape", {}
    if where == "node":
        for name, value in said["modifiers"].items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                return 422, [{"loc": ["body", "modifiers", name], "msg": "Input should be a valid number"}], {}
        backend.add_node({name: said[name] for name in shape})
        words = {"message": f"Provenance node added: {said['node_id']}", "session_id": said["session_id"]}
    else:
        backend.add_event(session_id, {name: said[name] for name in shape})
        words = {"message": f"Event added to session {session_id}", "event_type": said["event_type"]}
    return 200, None, {"status": "ok", **words}


def _reply(content: Any, words: dict[str, Any]) -> dict[str, Any]:
    words = dict(words)
    name = words.pop("list", None)
    return words if name is None else {**words, name: content if isinstance(content, list) else []}


def _appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def stored(folder: Path, name: str) -> list[dict[str, Any]]:
    file = folder / name
    whole = file.read_text().rpartition("\n")[0] if file.exists() else ""  # a reader may see half of a line
    return [json.loads(line) for line in whole.splitlines()]


def write_mode(folder: Path, mode: dict[str, Any]) -> None:
    (folder / "mode.new").write_text(json.dumps(mode))
    (folder / "mode.new").replace(folder / "mode")


def main(folder: Path, port: int) -> None:
    app = web.Application(middlewares=[one_at_a_time])
    app[BACKEND] = Backend(folder)
    for method, path, name in (
        ("GET", "/v1/health", "health"),
        ("GET", "/v1/sessions", "sessions"),
        ("GET", "/v1/sessions/{session_id}/events", "events"),
        ("POST", "/v1/sessions/{session_id}/events", "event"),
        ("GET", "/v1/sessions/{session_id}/provenance", "nodes"),
        ("POST", "/v1/provenance/node", "node"),
    ):
        app.router.add_route(method, path, one_at_a_time, name=name)  # the middleware answers all of them
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=lambda _: os.write(1, b"up\n"))


class Double:
    """The double as a test has it: started, killed and started again on one port, with one store."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._reserved = socket.socket()  # no other process gets the port while the double is down
        self._reserved.bind(("127.0.0.1", 0))
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port: int = self._reserved.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        from homes import start_script  # the process itself does not need it

        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = start_script(__file__, str(self.folder), str(self.port), **streams)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"up\n"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def close(self) -> None:
        """End it and free its port."""
        self.kill()
        self._reserved.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def mode(self, **mode: Any) -> None:
        """See the module's docstring: `answer`, `store`, `only`, `times`, `delay_s`, `shift`; nothing: as it should be."""
        write_mode(self.folder, mode)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What is stored, in its order; each event with its `session_id`."""
        return stored(self.folder, "events.jsonl")

    @property
    def nodes(self) -> list[dict[str, Any]]:
        return stored(self.folder, "nodes.jsonl")

    @property
    def keys(self) -> list[str]:
        return [event["data"]["idempotency_key"] for event in self.events]

    @property
    def count(self) -> int:
        """How many events are stored."""
        file = self.folder / "events.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    @property
    def collisions(self) -> list[str]:
        file = self.folder / "collisions"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def large_reads(self) -> list[str]:
        """The reads that passed what the wrapper can carry."""
        file = self.folder / "large_reads"
        return file.read_text().splitlines() if file.exists() else []


@contextmanager
def doubling(folder: Path) -> Iterator[Double]:
    """A double that runs, until the end of the block."""
    double = Double(folder)
    double.start()
    try:
        yield double
    finally:
        double.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

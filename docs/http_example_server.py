"""The server that examples of the OpenAPI document come from, and the requests that several examples send."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]

ECHO = {"session_id": "session_001", "capability": "echo", "parameters": {"text": "Hello, world!"}}
LATER = {**ECHO, "session_id": "session_002", "not_before": "2999-01-01T09:00:00Z"}
TRANSLATOR = {
    "agent_id": "translator",
    "name": "Translator",
    "version": "1.0",
    "endpoint": "http://127.0.0.1:9",
    "capabilities": [{"name": "translate", "description": "Translate text", "parameters": {"text": "string"}}],
    "ttl_s": 30,
}
RENDERER = {
    "worker": "gpu-1",
    "lease_s": 30.0,
    "agents": [
        {
            "agent_id": "renderer",
            "labels": {"gpu": "yes"},
            "capabilities": [{"name": "render", "parameters": {"scene": "string"}, "idempotent": True}],
        }
    ],
}
UNKNOWN_ID = "01KFV70HW9ZZZZZZZZZZZZZZZZ"
UNKNOWN_CLAIM = "clm_aaaaaaaaaa"
WAIT_S = 30.0


@contextmanager
def serving(folder: Path, aorch: list[str]) -> Iterator[httpx.Client]:
    """A client of `aorch serve` in that folder; `aorch` is the command."""
    environment = {**os.environ, "HOME": str(folder), "MEMAGENT_URL": "off"}  # one may listen at its default address
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "AORCH_LEDGER", "ORCHESTRATOR_PORT", "TRACE_URL"):
        environment.pop(name, None)
    command = [*aorch, "serve", "--port", "0", "--ledger", "ledger.db"]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(line.split()[2] for line in process.stderr if line.startswith("aorch serves "))
            with httpx.Client(base_url=address, timeout=WAIT_S, trust_env=False) as client:
                yield client
        finally:
            process.kill()

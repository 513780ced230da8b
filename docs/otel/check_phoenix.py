"""Exports real exchanges to a real Arize Phoenix, and reads them back: `python docs/otel/check_phoenix.py PHOENIX`.

PHOENIX is the program `phoenix` of the package arize-phoenix, installed in an environment of its own because it needs 800 MB:

    python -m venv /var/tmp/phoenix && /var/tmp/phoenix/bin/pip install arize-phoenix
    uv run --group dev python docs/otel/check_phoenix.py /var/tmp/phoenix/bin/phoenix

The script starts Phoenix and a double of a model on free ports, in a temporary directory, runs an echo, a failing task, a model
and a pipeline with `aorch run`, exports them with `aorch otel push`, and checks what Phoenix's REST API returns.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))

from doubles import running
from model_double import KEY, ModelDouble

AORCH = [sys.executable, "-m", "aorch"]
START_S = 120.0
CONFIG = """
[otel]
endpoint = "{phoenix}"
content = true
service_name = "aorch-check"

[agents.broken]
command = ["sh", "-c", "echo no such table >&2; exit 3"]
capabilities.fail.description = "Fails"

[agents.writer]
llm = "openai"
model = "test-model-1"
base_url = "{model}/v1"
key_env = "TEST_LLM_KEY"
capabilities.summarize.prompt = "Summarize: {{text}}"

[pipelines.report]
[[pipelines.report.steps]]
name = "greet"
capability = "echo"
parameters = {{ text = "hi" }}
[[pipelines.report.steps]]
name = "sum"
capability = "summarize"
parameters = {{ text = "hi" }}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def phoenix(program: str, folder: Path) -> Iterator[httpx.Client]:
    """A Phoenix with its data in `folder`, until the end of the block."""
    port = free_port()
    environment = {
        **os.environ,
        "PHOENIX_WORKING_DIR": str(folder / "phoenix"),
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "phoenix.log").open("wb") as log:
        process = subprocess.Popen([program, "serve"], env=environment, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            _wait(lambda: client.get("/healthz").status_code == 200, process)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def _wait(ready: Any, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit("Phoenix did not start; read phoenix.log")


def spans_of(client: httpx.Client) -> list[dict[str, Any]]:
    """The spans that Phoenix stored, once it has stored them."""
    for _ in range(60):
        answer = client.get("/v1/projects/aorch-check/spans", params={"limit": 100})
        if answer.status_code == 200 and len(found := answer.json()["data"]) >= 10:
            return list(found)
        time.sleep(0.5)
    raise SystemExit(f"Phoenix has not stored all spans: {answer.text[:500]}")


def main(program: str) -> None:
    """Export, read back, check, print."""
    with tempfile.TemporaryDirectory() as name, running(ModelDouble()) as model, phoenix(program, Path(name)) as client:
        folder = Path(name)
        (folder / "aorch.toml").write_text(CONFIG.format(phoenix=str(client.base_url).rstrip("/"), model=model.url))
        environment = {**os.environ, "HOME": name, "AORCH_LEDGER": f"{name}/ledger.db", "TEST_LLM_KEY": KEY}

        def aorch(*arguments: str) -> int:
            return subprocess.run([*AORCH, *arguments], cwd=folder, env=environment, check=False).returncode

        assert aorch("run", "echo", "text=hi", "--session", "talk") == 0
        assert aorch("run", "fail", "--session", "talk") == 10
        assert aorch("run", "report", "--session", "talk") == 0
        assert aorch("otel", "push") == 0
        found = spans_of(client)
        check(found)
        sessions = client.get("/v1/projects/aorch-check/sessions").json()["data"]
        assert [each["session_id"] for each in sessions] == ["talk"], sessions
        for span in sorted(found, key=lambda each: str(each["start_time"])):
            shown = (span["span_kind"], span["status_code"], span["context"]["span_id"], span["parent_id"] or "-")
            print(*shown, span["name"], span["attributes"].get("llm.token_count.total", ""), sep="\t")
        print(f"{len(found)} spans in session {sessions[0]['session_id']!r}")


def check(found: list[dict[str, Any]]) -> None:
    """Fail unless Phoenix shows kinds, parents, errors, content and tokens as they are."""
    by_id = {span["context"]["span_id"]: span for span in found}
    roots = [span for span in found if span["parent_id"] is None]
    assert len(found) == len(by_id) == 10, len(found)
    assert sorted(span["name"] for span in roots) == [
        "invoke_agent agent_example_001",
        "invoke_agent broken",
        "invoke_agent report",
    ]
    for span in found:
        assert (
            span["parent_id"] is None or by_id[span["parent_id"]]["context"]["trace_id"] == span["context"]["trace_id"]
        )
        assert span["attributes"]["session.id"] == "talk"
    (chat,) = (span for span in found if span["span_kind"] == "LLM")
    assert chat["name"].startswith("chat ")
    assert chat["attributes"]["llm.token_count.total"] > 0
    (failed,) = (span for span in roots if span["name"] == "invoke_agent broken")
    assert (failed["status_code"], failed["attributes"]["error.type"]) == ("ERROR", "agent_failed")
    assert "no such table" in failed["status_message"]
    assert {span["span_kind"] for span in found} == {"AGENT", "CHAIN", "LLM"}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])

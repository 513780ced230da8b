"""The `aorch.toml` that `aorch init` writes: every setting with its description and default, commented out."""

import os
import textwrap
from pathlib import Path

from aorch import jsonio
from aorch.config import config_file, sections
from aorch.errors import AorchError, Conflict

_EXAMPLES = {
    "ledger": "ledger.db",
    "timeout_s": 600,
    "max_depth": 16,
    "serve.token_file": "token.txt",
    "queue.webhook_secret_env": "AORCH_WEBHOOK_SECRET",
    "queue.webhook_proxy": "http://proxy.example:3128",
    "llm.url": "https://api.anthropic.com",
    "llm.model": "claude-haiku-4-5",
    "llm.key_env": "ANTHROPIC_API_KEY",
    "llm.proxy": "http://proxy.example:3128",
    "redact.key_file": "redaction.key",
    "trace.url": "http://localhost:8787",
    "retention.keep": "90d",
    "retention.max_size": "2GB",
    "otel.endpoint": "http://localhost:4318",
    "remote.url": "https://aorch.example",
    "remote.ca_file": "ca.pem",
    "remote.proxy": "http://proxy.example:3128",
    "otel.headers_env": "OTEL_EXPORTER_OTLP_HEADERS",
}
"""Values of the keys without a fixed default."""
_HEAD = """\
# Configuration of aorch. Remove the # before a line to use it. Settings have their defaults or an example; `aorch config
# show` prints the current values.
"""
_AGENTS = """
# A program as an agent: aorch run greet name=Ann
#[agents.greet]
#command = ["echo", "hello {name}"]
#[agents.greet.capabilities.greet]
#description = "Say hello"
#parameters = { name = "string" }

# A Python class as an agent, from my_agents.py next to this file
#[agents.my_agent]
#class = "my_agents:MyAgent"

# An MCP server as an agent, which needs aorch[mcp]: aorch run files.read_text_file path=README.md
#[agents.files]
#mcp = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "."]

# A pipeline: aorch run shout_hello name=Ann
#[pipelines.shout_hello]
#parameters = { name = "string" }
#[[pipelines.shout_hello.steps]]
#name = "hello"
#capability = "greet"
#parameters = { name = "{input.name}" }
#[[pipelines.shout_hello.steps]]
#name = "shout"
#capability = "uppercase"
#parameters = { text = "{steps.hello.data.text}" }
"""


def text() -> str:
    """The content of the file."""
    lines, table = [_HEAD], ""
    for key in sections.all_keys():
        if key.table != table:
            table = key.table
            lines += ["", f"# {(sections.TABLES[table].__doc__ or '').strip()}", f"#[{table}]"]
        lines += textwrap.wrap(key.description, 118, initial_indent="# ", subsequent_indent="# ")
        value = key.default if key.default not in (None, "") else _EXAMPLES[key.path]
        lines.append(f"#{key.name} = {jsonio.encode(value)}")
    return "\n".join(lines) + "\n" + _AGENTS


def create() -> Path:
    """Write the file into the working directory and return its path. Raises Conflict if it exists."""
    file = config_file.working_folder() / config_file.FILE_NAME
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text())
            new.flush()
            os.fsync(new.fileno())
    except FileExistsError:
        raise Conflict(f"{file} already exists", "Edit it with `aorch config edit`, or remove it first.") from None
    except OSError as error:
        raise AorchError(f"cannot write {file}: {config_file.reason_of(error)}") from error
    return file

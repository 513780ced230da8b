"""What docs/memory.md tells to put into cron and systemd does what it says there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Home
from memory_homes import take_in
from memory_sessions import review

PAGE = (Path(__file__).parent.parent / "docs/memory.md").read_text()
UNITS = re.findall(r"systemd/user/(aorch-compress\.\w+)`\n\n```ini\n(.*?)```", PAGE, re.DOTALL)
PROGRAM = Path(sys.executable).with_name("aorch")


@pytest.fixture
def installed(home: Home) -> Home:
    """A home whose `~/.local/bin` has aorch, and a ledger where it lies when nobody says otherwise."""
    (home.folder / ".local/bin").mkdir(parents=True)
    (home.folder / ".local/bin/aorch").symlink_to(PROGRAM)
    del home.environment["AORCH_LEDGER"], home.environment["XDG_DATA_HOME"], home.environment["XDG_CONFIG_HOME"]
    (home.folder / ".local/share/aorch").mkdir(parents=True)
    (home.folder / ".local/share/aorch/ledger.db").symlink_to(home.ledger)
    return home


@pytest.mark.skipif(sys.platform != "linux", reason="a data folder lies elsewhere")
def test_the_line_for_cron_compresses_in_cron_s_environment_and_is_quiet(installed: Home) -> None:
    take_in(installed, [{**contract, "created_at": "2020-01-01T00:00:00.000Z"} for contract in review()])
    (line,) = re.findall(r"```crontab\n(?:\S+ ){5}(.*)\n```", PAGE)
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=installed.folder,
        env={"HOME": str(installed.folder), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "ann"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert installed.rows("SELECT count(*) FROM memory_blocks") == [(1,)]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_the_units_for_systemd_are_ones(installed: Home) -> None:
    assert [name for name, _ in UNITS] == ["aorch-compress.service", "aorch-compress.timer"]
    for name, unit in UNITS:
        installed.write(name, unit.replace("%h", str(installed.folder)))
    done = subprocess.run(
        ["systemd-analyze", "verify", *(name for name, _ in UNITS)],
        cwd=installed.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")

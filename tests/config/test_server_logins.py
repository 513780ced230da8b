"""The file with the tokens of servers, while several processes change it and after one was killed."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from homes import Home
from waiting import WAIT_S, wait_for

STORE = """
import os, resource, signal, sys
from aorch.config import server_logins
name, longest = sys.argv[1], int(sys.argv[2])
os.umask(0o022)
if longest:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (longest, longest))
server_logins.store(server_logins.Login(name, f"https://{name}.example", "secret" * 100))
"""
REMOVE = """
import sys
from aorch.config import server_logins
assert server_logins.remove(sys.argv[1]) is not None
"""


def test_a_process_that_is_killed_while_it_stores_a_token_leaves_nothing_that_others_can_read(home: Home) -> None:
    for longest, code in ((0, 0), (300, -signal.SIGXFSZ)):
        assert _started(home, STORE, f"prod{longest}", str(longest)).wait(WAIT_S) == code
        folder = _folder(home)
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.iterdir())) == 2


def test_simultaneous_logins_and_logouts_lose_nothing(home: Home) -> None:
    assert _started(home, STORE, "first", "0").wait(WAIT_S) == 0
    folder = _folder(home)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        changing = [_started(home, STORE, name, "0") for name in "ab"] + [_started(home, REMOVE, "first")]
        wait_for(lambda: len(re.findall(rf"-> FLOCK.*:{folder.stat().st_ino} ", Path("/proc/locks").read_text())) == 3)
    finally:
        os.close(descriptor)
    assert [each.wait(WAIT_S) for each in changing] == [0, 0, 0]
    text = (folder / "servers.json").read_text()
    assert sorted(re.findall(r'"name": "(\w+)"', text)) == ["a", "b"]


def _started(home: Home, script: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env=home.environment)


def _folder(home: Home) -> Path:
    return next(home.folder.rglob("servers.json")).parent

"""A home whose ledger a real server serves, and commands on the file and on the server, whose results are compared."""

import re
from dataclasses import replace

from homes import Home, Result

CONFIG = """
[agents.broken]
command = ["sh", "-c", "echo no such table >&2; echo partly; exit 3"]
capabilities.fail.description = "Never succeeds"
[agents.absent]
command = ["no-such-program"]
capabilities.absent = {}
[agents.slow]
command = ["sleep", "20"]
capabilities.slow = {}
[agents.second]
command = ["echo", "two {text}"]
capabilities.echo = {}
"""
_CHANGING = (
    (re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b|(?<=_)[0-7][0-9A-HJKMNP-TV-Z]{25}\b"), "ID"),
    (re.compile(r"\b20\d\d-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\d+[smh] ago"), "1s ago"),
    (re.compile(r"\d+\.\d s, [\d,]+/s"), "1 s, 1/s"),
    (re.compile(r'"(oldest_s|duration_ms|p50_ms|p95_ms|max_ms)":[\d.]+'), r'"\1":0'),
)


def with_client(home: Home, url: str, *, name: str = "client", **environment: str) -> Home:
    """A machine on which commands use the server at `url`, in a folder without a ledger."""
    folder = home.folder / name
    folder.mkdir(exist_ok=True)
    (folder / "aorch.toml").touch()
    own = {
        **home.environment,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "AORCH_URL": url,
        **environment,
    }
    del own["AORCH_LEDGER"]
    return replace(home, folder=folder, environment=own)


def seen(result: Result) -> tuple[int, str, str]:
    """What a user sees of a command, without IDs, times and durations."""
    out, err = result.out, result.err
    for pattern, same in _CHANGING:
        out, err = pattern.sub(same, out), pattern.sub(same, err)
    return result.code, out, err

"""Which process of which machine this one is, so that another process of the same machine sees at once that it has ended."""

import os
from pathlib import Path

_ZOMBIE = "ZX"


def whereabouts() -> str:
    """The machine, the container and the process that execute this, with its start; "" if the system does not show them all."""
    here, started = _here(), _state_and_start(os.getpid())[1]
    return f"{here} {os.getpid()} {started}" if here and started else ""


def has_ended(known: str) -> bool:
    """Whether the process that called `whereabouts` has ended for certain. False if it may run, or is not one of this machine."""
    here, pid, known_start = known.rsplit(" ", 2) if known else ("", "", "")
    if not here or here != _here():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    state, started = _state_and_start(int(pid))
    return bool(started) and (state in _ZOMBIE or started != known_start)


def _here() -> str:
    """The boot of the machine, the namespace of process ids, and the host name, which differs in copies of a machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} {os.uname().nodename}"
    except OSError:
        return ""


def _state_and_start(pid: int) -> tuple[str, str]:
    """The state of a process of this machine and its start (ticks since the boot); empty if they cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""

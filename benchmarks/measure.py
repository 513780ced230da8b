"""What the benchmarks share: interleaved runs, medians, a child's time and peak memory, and a table of goals.

The machine is often shared and noisy: every figure is a ratio of medians of runs that take turns, so that a slow minute
slows both sides.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PYTHON = sys.executable
AORCH = str(Path(sys.executable).with_name("aorch"))
"""The console script of the environment that the benchmark runs in."""


@dataclass(frozen=True)
class Child:
    """What a child process printed, how long it took from fork to exit, and the processor time that it used."""

    out: str
    err: str
    seconds: float
    cpu_s: float


@contextmanager
def machine(**environment: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """An empty home in a temporary folder (beside a real disk: TMPDIR), and the environment of a person who lives there.

    `PYTHONDONTWRITEBYTECODE` is not in it, so that the first run compiles what the others load.
    """
    folder = Path(tempfile.mkdtemp(prefix="aorch-benchmark-"))
    (folder / "aorch.toml").touch()
    inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data"), "XDG_CONFIG_HOME": str(folder / "config")}
    try:
        yield folder, {**inherited, **home, **environment}
    finally:
        shutil.rmtree(folder)


def child(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Child:
    """Run `command` in `folder` to its end, which must be a good one.

    Output goes to files, so that a child never waits for its reader; the first MiB of it is kept.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started, used = time.perf_counter(), _children_cpu_s()
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False
        )
        seconds, cpu_s = time.perf_counter() - started, _children_cpu_s() - used
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(2**20).decode("utf-8", "replace"))
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {texts}"
    return Child(*texts, seconds, cpu_s)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


_WAITER = """
import os, sys
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ), 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_memory(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, Child]:
    """The largest resident size in bytes of `command`, run as `child` runs it.

    A small process stands between: Linux carries the size of the one that forks over the exec into its child's maximum.
    """
    with tempfile.NamedTemporaryFile("r") as peak:
        done = child([PYTHON, "-I", "-S", "-c", _WAITER, peak.name, *command], folder, environment)
        return int(peak.read()), done


def interleaved(cases: Mapping[str, Callable[[], float]], rounds: int, warm: int = 1) -> dict[str, float]:
    """The median of what each case measures, over `rounds` in which all cases take turns; `warm` more go before."""
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(warm + rounds):
        for name, case in cases.items():
            value = case()
            if number >= warm:
                measured[name].append(value)
    return {name: statistics.median(values) for name, values in measured.items()}


class Goals:
    """The ratios of a benchmark, printed as they come; `end` leaves with 1 where a goal was missed."""

    def __init__(self, title: str) -> None:
        self._missed = 0
        print(title)

    def at_most(self, what: str, value: float, goal: float, unit: str = "") -> None:
        """`value` must not be above `goal`."""
        self._say(what, value, f"≤ {goal:g}{unit}", value <= goal, unit)

    def at_least(self, what: str, value: float, goal: float, unit: str = "") -> None:
        """`value` must not be below `goal`."""
        self._say(what, value, f"≥ {goal:g}{unit}", value >= goal, unit)

    def note(self, what: str, text: str) -> None:
        """Something that has no goal."""
        print(f"  {what:<76} {text:>12}")

    def end(self) -> None:
        """Leave, with the exit code that tells whether all goals were reached."""
        sys.exit(1 if self._missed else 0)

    def _say(self, what: str, value: float, goal: str, reached: bool, unit: str) -> None:
        self._missed += not reached
        print(f"  {what:<76} {f'{value:.3g}{unit}':>12}   {goal:<10} {'ok' if reached else 'MISSED'}", flush=True)

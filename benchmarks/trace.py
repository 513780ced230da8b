"""`orchestrate` beside a Trace that does not do its part: `python benchmarks/trace.py [ROUNDS] [--memory]`. Wants `wrk`.

The load is that of `http.py`, from where the servers come: 32 clients, both contracts of each request durable, every body
checked and every row counted. Four servers take turns: one with Trace switched off, the others with a Trace that is down,
that takes requests and never answers, and that says it is healthy and answers 500. `--memory`: what many requests leave
behind while Trace is down.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http import Bench, Server  # benchmarks/http.py: a script's own folder comes first
from pathlib import Path
from statistics import median

from measure import PYTHON, Goals, machine

DOUBLE = Path(__file__).parent.parent / "tests/support/trace_double.py"
CASES = {"down": None, "hanging": {"answer": "hang"}, "lying": {"answer": 500, "store": False}}
PORTS = {"down": 18797, "hanging": 18798, "lying": 18799}
CLIENTS = 32


@contextmanager
def trace(folder: Path, port: int, mode: Mapping[str, object] | None) -> Iterator[str]:
    """The address of a Trace of that conduct; None: nothing listens there."""
    if mode is None:
        yield f"http://127.0.0.1:{port}"
        return
    store = folder / f"trace{port}"
    store.mkdir()
    (store / "mode").write_text(json.dumps(mode))
    with subprocess.Popen([PYTHON, str(DOUBLE), str(store), str(port)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@contextmanager
def servers(folder: Path, environment: Mapping[str, str], names: list[str]) -> Iterator[dict[str, Server]]:
    """A server without Trace, and one beside each Trace of `names`."""
    with ExitStack() as running:
        found = {}
        for name in ["without", *names]:
            url = running.enter_context(trace(folder, PORTS[name], CASES[name])) if name in CASES else "off"
            bench = Bench(folder, {**environment, "TRACE_URL": url})
            found[name] = running.enter_context(bench.serving(bench.copy(bench.template, f"{name}.db")))
        yield found


def rates(folder: Path, environment: Mapping[str, str], rounds: int) -> None:
    """Requests a second beside each Trace, against none."""
    goals = Goals(f"POST /v1/orchestrate, {CLIENTS} clients, beside a Trace that fails; medians of {rounds} rounds")
    taken: dict[str, list[float]] = {}
    with servers(folder, environment, list(CASES)) as running:
        for number in range(rounds + 1):
            names = list(running) if number % 2 else list(reversed(running))
            for name in names:
                rate = running[name].load(CLIENTS).rate
                if number:
                    taken.setdefault(name, []).append(rate)
    for name, measured in taken.items():
        goals.note(f"{name}, requests/s", f"{median(measured):,.0f}")
    for name in CASES:
        goals.at_least(f"rate beside a Trace that is {name}", median(taken[name]) / median(taken["without"]), 0.95)
    goals.end()


def memory(folder: Path, environment: Mapping[str, str], _: int) -> None:
    """What is resident after 10,000 requests and after 100,000 that all wait for Trace, against a server without it."""
    goals = Goals(f"resident size of the server, {CLIENTS} clients, nothing delivered")
    grown = {}
    with servers(folder, environment, ["down", "hanging"]) as running:
        for name, server in running.items():
            sizes, served = [], 0
            for milestone in (10_000, 100_000):
                while served < milestone:
                    served += server.load(CLIENTS, 6).requests
                sizes.append(server.memory())
            grown[name] = (sizes[1] - sizes[0]) / 2**20
            goals.note(
                f"{name}: after 10,000 and after {served:,} requests",
                f"{sizes[0] / 2**20:.1f}, {sizes[1] / 2**20:.1f} MiB",
            )
    for name in ("down", "hanging"):
        goals.at_most(
            f"growth beside a Trace that is {name}, over that without", grown[name] - grown["without"], 2, " MiB"
        )
    goals.end()


if __name__ == "__main__":
    wanted = memory if "--memory" in sys.argv else rates
    rounds = next((int(argument) for argument in sys.argv[1:] if argument.isdecimal()), 7)
    with machine() as (folder, environment):
        wanted(folder, environment, rounds)

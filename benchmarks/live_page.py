"""The live page in a real Chromium: `python benchmarks/live_page.py [ROUNDS] [--minutes N] [--keep FOLDER]`.

Over 1,000,000 contracts, the newest of which are of this minute: how long each view takes from an empty tab until it shows its
first page, beyond the bare requests that it sends. Then 10,000 events a minute: the memory of the tab, and what an exchange
costs the server with and without it. Needs Debian's package chromium, and the group `trials` of pyproject.toml.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from measure import AORCH, Goals, machine
from million import ASKED, LARGE, make

sys.path.remove(str(Path(__file__).parent))  # http.py there would hide Python's own `http`

VIEWS = {
    "live": ("#/live", "exchanges"),
    "sessions": ("#/sessions", "sessions"),
    "session": (f"#/sessions/{ASKED}", f"sessions/{ASKED}/tree"),
    "agents": ("#/agents", "agents"),
    "queue": ("#/queue", "queue"),
    "memory": ("#/memory", "memory"),
    "search": ("#/search?text=zanzibar", "exchanges"),
    "charts": ("#/charts", "stats"),
}
"""Each view, with the path of the request that it shows."""
MOST_MS = 300
EVENTS_PER_MINUTE = 10_000
CLIENTS = 4
SHOWS = "() => document.querySelector('h1') && !document.querySelector('.loading') && performance.now()"
TOOK = """(path) => performance.getEntriesByType("resource").filter(
    (each) => new URL(each.name).pathname === `/v1/${path}`)[0].duration"""
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def main(rounds: int, minutes: float, keep: Path | None) -> None:
    """Make the ledger, measure, print."""
    from playwright.sync_api import sync_playwright

    with machine() as (home, environment), sync_playwright() as playwright:
        ledger = (keep or home) / "live.db"
        if not ledger.exists():
            ledger.parent.mkdir(parents=True, exist_ok=True)
            make(LARGE, ledger, time.time() - LARGE // 2)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        goals = Goals(f"the live page over {LARGE:,} contracts, medians of {rounds} rounds")
        with serving(home, environment, ledger) as (url, server):
            views(goals, browser, url, rounds)
            events(goals, browser, url, server, minutes)
        browser.close()
    goals.end()


@contextmanager
def serving(home: Path, environment: dict[str, str], ledger: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server over that ledger, and its process."""
    command = [AORCH, "serve", "--port", "0", "--ledger", str(ledger)]
    with subprocess.Popen(command, cwd=home, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = next(line.split()[2] for line in process.stderr if line.startswith("aorch serves "))
        with (home / "serve.log").open("w") as log:
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=log)
            yield url, psutil.Process(process.pid)
            process.terminate()
            process.wait()
            drain.wait()


def views(goals: Goals, browser: Any, url: str, rounds: int) -> None:
    """The time of each view from an empty tab, beyond the time that its request took in the same run."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    for name, (address, path) in VIEWS.items():
        bare, more = [], []
        for number in range(rounds + 1):
            page.goto("about:blank")
            page.goto(f"{url}/{address}")
            shown_ms = page.wait_for_function(SHOWS, timeout=120_000).json_value()
            request_ms = page.evaluate(TOOK, path)
            if number:
                bare.append(request_ms)
                more.append(shown_ms - request_ms)
        goals.note(f"{name}: its request", f"{statistics.median(bare):.0f} ms")
        goals.at_most(f"{name}: shown after", statistics.median(more), MOST_MS, " ms more")
    page.close()


def events(goals: Goals, browser: Any, url: str, server: psutil.Process, minutes: float) -> None:
    """10,000 events a minute, without and with a tab that shows them."""
    cost = {"without": 0.0, "with": 0.0}
    drive(url, server, 0.1)
    cost["without"], rate = drive(url, server, minutes)
    goals.note("events a minute without the tab", f"{rate:,.0f}")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{url}/#/live")
    page.get_by_text("Following").wait_for()
    cost["with"], rate = drive(url, server, minutes)
    goals.at_least("share of 10,000 events a minute with the tab", rate / EVENTS_PER_MINUTE, 0.95)
    goals.at_least("processor time of an exchange, without / with the tab", cost["without"] / cost["with"], 0.95)
    heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    goals.note("the tab's JavaScript heap", f"{heap:.0f} MiB")
    goals.at_most("memory of the tab's process", renderer_mib(), 200, " MiB")
    page.close()


def renderer_mib() -> float:
    """The private memory (USS) of the largest process that renders a page."""
    children = psutil.Process().children(recursive=True)
    sizes = [each.memory_full_info().uss for each in children if "--type=renderer" in " ".join(each.cmdline())]
    return max(sizes) / 2**20


def drive(url: str, server: psutil.Process, minutes: float) -> tuple[float, float]:
    """Send exchanges evenly, two events each. Returns the server's processor time per exchange (s), and events a minute."""
    import httpx

    count = max(1, int(minutes * EVENTS_PER_MINUTE / 2))
    before, started = sum(server.cpu_times()[:2]), time.perf_counter()

    def send(number: int) -> None:
        ahead = started + number * minutes * 60 / count - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        task = {"session_id": f"live {number % 7}", "capability": "echo", "parameters": {"text": f"event {number}"}}
        assert client.post("/v1/orchestrate", json=task).json()["success"]

    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client, ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(send, range(count)))
    took = time.perf_counter() - started
    return (sum(server.cpu_times()[:2]) - before) / count, 2 * count / took * 60


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    main(given.rounds, given.minutes, given.keep)

"""What a session's memory keeps: recall of failures, decisions, exact strings and aims, and what a large session costs.

The sessions are imported into a ledger, compressed by `aorch compress --all`, and what is scored is what
`aorch memory export --as prompt` prints.

    python benchmarks/memory.py [--data DIR]

DIR holds `*.sessions.jsonl` (a line a session: `session_id`, `contracts` in their JSON form), `*.probes.jsonl` (what a reader
of the memory would be asked for) and `score.py`, which scores texts. By default it is `shared/data/memory` beside the checkout.
"""

import argparse
import importlib.util
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from measure import AORCH, PYTHON, Goals, child, machine, peak_memory

from aorch import jsonio

BUDGETS = (256, 512, 1024)
GOALS = {
    512: {"failure": 0.98, "decision": 0.98, "literal": 0.95, "intent": 0.98},
    256: {"failure": 0.95, "decision": 0.95, "literal": 0.88, "intent": 0.98},
}
LARGE = 10_000
NEW, ROUNDS = 200, 5
BLOCKS = {512: (256, 512), 1024: (1024,)}
"""Tokens of a block, which are 512 unless more are asked for, and of the texts that are made of it."""
DATA = Path(__file__).resolve().parents[2] / "shared/data/memory"

Session = Mapping[str, Any]
Writer = Callable[[Session, int], str]
"""Gives the text that stands for a session within so many tokens."""


def main() -> None:
    """Score every writer of memories at every budget, then compress a large session."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR")
    parser.add_argument("--large", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.data
    if not (folder / "score.py").exists():
        sys.exit(f"{folder} holds no score.py; say with --data where sessions and probes are")
    if arguments.large is not None:
        print(compress_many(folder, arguments.large))
        return
    scorer = load_scorer(folder)
    sessions, probes = scorer.load(folder)
    goals = Goals(f"Memory of {len(sessions)} sessions, {sum(map(len, probes.values()))} probes")
    for name, writer in {**baselines(scorer), "sumy": off_the_shelf(scorer)}.items():
        for budget in BUDGETS:
            goals.note(f"{name} at {budget} tokens", told(recall(scorer, sessions, probes, writer, budget)))
    ours = memory_of(sessions)
    for half, chosen in {"": sessions, " (even)": sessions[::2], " (odd)": sessions[1::2]}.items():
        for budget in BUDGETS:
            recalled = recall(scorer, chosen, probes, ours, budget)
            goals.note(f"aorch at {budget} tokens{half}", told(recalled))
            for kind, goal in GOALS.get(budget, {}).items():
                if not half:
                    goals.at_least(f"aorch at {budget} tokens, recall of {kind}s", recalled[kind], goal)
    large(goals, folder)
    growing(goals, folder)
    goals.end()


def load_scorer(folder: Path) -> Any:
    """The module `score.py` of the folder."""
    spec = importlib.util.spec_from_file_location("score", folder / "score.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recall(
    scorer: Any, sessions: Sequence[Session], probes: Mapping[str, Any], writer: Writer, budget: int
) -> dict[str, float]:
    """The share of each kind of probe that the writer's texts, cut at the budget, hold."""
    tally: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for session in sessions:
        scorer.score(writer(session, budget)[: 4 * budget], probes[session["session_id"]], tally)
    return {kind: tally[kind][0] / tally[kind][1] for kind in scorer.KINDS}


def told(recalled: Mapping[str, float]) -> str:
    """Recall of each kind on a line."""
    return "  ".join(f"{kind} {share:.2f}" for kind, share in recalled.items())


def memory_of(sessions: Sequence[Session]) -> Writer:
    """What aorch prints for each of the sessions: all commands are real ones, on a new ledger, and every claim is verified."""
    texts: dict[int, dict[str, str]] = {}
    contracts = [contract for session in sessions for contract in session["contracts"]]
    for block, budgets in BLOCKS.items():
        with machine() as (home, environment):
            imported(home, environment, contracts)
            child([AORCH, "compress", "--all", "--max-tokens", f"{block}", "--quiet"], home, environment)
            child([AORCH, "memory", "verify", "--all"], home, environment)
            for budget in budgets:
                file = home / f"{budget}.jsonl"
                command = f'"{AORCH}" memory export --as prompt --max-tokens {budget} > "{file}"'
                child(["sh", "-c", command], home, environment)
                lines = map(jsonio.decode, file.read_text().splitlines())
                texts[budget] = {line["session_id"]: line["text"] for line in lines}
                assert all(len(text) <= 4 * budget for text in texts[budget].values())
    return lambda session, budget: texts[budget][session["session_id"]]


def imported(home: Path, environment: Mapping[str, str], contracts: Iterable[Mapping[str, Any]]) -> None:
    """Put contracts into the ledger of that home."""
    file = home / "contracts.jsonl"
    with file.open("w") as lines:
        lines.writelines(f"{jsonio.encode(contract)}\n" for contract in contracts)
    child([AORCH, "contracts", "import", str(file)], home, environment)
    file.unlink()


def baselines(scorer: Any) -> dict[str, Writer]:
    """The scorer's own: the end of a session, its beginning and end."""

    def writer(cut: Callable[[str, int], str]) -> Writer:
        return lambda session, budget: cut("\n".join(scorer.render(session)), 4 * budget)

    return {name: writer(cut) for name, cut in scorer.BASELINES.items()}


def off_the_shelf(scorer: Any) -> Writer:
    """sumy's LexRank over the session as text, its best sentences as far as the budget goes.

    Its own tokenizer downloads a model, so sentences end at full stops and lines here. LexRank compares each sentence with
    each, so it is given the first 150 and the last 150.
    """
    here = sys.path.pop(0)  # the http.py beside this file would stand for the standard library's
    from sumy.parsers.plaintext import PlaintextParser
    from sumy.summarizers.lex_rank import LexRankSummarizer

    sys.path.insert(0, here)
    ranked: dict[str, list[str]] = {}

    def writer(session: Session, budget: int) -> str:
        if session["session_id"] not in ranked:
            sentences = _Words.to_sentences("\n".join(scorer.render(session)))
            text = "\n".join(sentences if len(sentences) <= 300 else sentences[:150] + sentences[-150:])
            document = PlaintextParser.from_string(text, _Words).document
            ranked[session["session_id"]] = [str(one) for one in LexRankSummarizer()(document, 60)]
        return "\n".join(ranked[session["session_id"]])[: 4 * budget]

    return writer


class _Words:
    """What sumy asks of a tokenizer."""

    @staticmethod
    def to_sentences(text: str) -> list[str]:
        return [part for part in re.split(r"(?<=[.!?]) +|\n+|\\n", text) if part.strip()]

    @staticmethod
    def to_words(text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())


def large(goals: Goals, folder: Path) -> None:
    """Compress ten thousand contracts, and none, in processes of their own; the peak of the one over that of the other."""
    with machine() as (home, environment):

        def run(many: int) -> tuple[float, float]:
            peak, done = peak_memory([PYTHON, __file__, "--data", str(folder), "--large", str(many)], home, environment)
            return float(done.out), peak / 2**20

        measured = [run(LARGE) for _ in range(3)]
        _, start = run(0)
    goals.at_most(f"seconds for {LARGE} contracts", statistics.median(seconds for seconds, _ in measured), 2, " s")
    goals.at_most(f"memory for {LARGE} contracts, over the start", max(mib for _, mib in measured) - start, 150, " MiB")


def compress_many(folder: Path, many: int) -> float:
    """Seconds that so many of the folder's contracts take, read over and over until there are enough of them."""
    from aorch.memory.block import BlockRequest
    from aorch.memory.local.local_compressor import compress_locally

    contracts = islice(endlessly(folder), many)
    started = time.perf_counter()
    block = compress_locally(contracts, BlockRequest("mem_1", created_at=""))
    assert block.covered.count == many
    return time.perf_counter() - started


def endlessly(folder: Path) -> Iterator[dict[str, Any]]:
    """The folder's contracts, over and over."""
    files = sorted(folder.glob("*.sessions.jsonl"))
    lines = (line for file in cycle(files) for line in file.open())
    return (contract for line in lines for contract in jsonio.decode(line)["contracts"])


def one_session(folder: Path, many: int) -> Iterator[dict[str, Any]]:
    """So many of them as one session of answered exchanges, under new ids."""
    from aorch.ids import new_id

    known: dict[str, str] = {}
    for contract in islice(endlessly(folder), many):
        known[contract["contract_id"]] = identity = new_id()
        about = {name: known.get(contract[name] or "") for name in ("request_id", "parent_id")}
        yield {**contract, **about, "contract_id": identity, "session_id": "grown", "status": "completed"}


def growing(goals: Goals, folder: Path) -> None:
    """`aorch compress` as a whole on a session of ten thousand contracts, on what is then new, and where nothing is."""
    with machine() as (home, environment):
        contracts = list(one_session(folder, LARGE + ROUNDS * NEW))

        def run(*more: Mapping[str, Any]) -> float:
            if more:
                imported(home, environment, more)
            return child([AORCH, "compress", "grown", "--via", "local"], home, environment).seconds

        imported(home, environment, contracts[:LARGE])
        peak, whole = peak_memory([AORCH, "compress", "grown", "--via", "local"], home, environment)
        all_of_it = whole.seconds
        idle, _ = peak_memory([AORCH, "compress", "grown", "--via", "local"], home, environment)
        nothing = statistics.median(run() for _ in range(ROUNDS))
        steps = [contracts[start : start + NEW] for start in range(LARGE, len(contracts), NEW)]
        # in turns, so that a slow minute slows both sides; two contracts cost a start and next to nothing
        few, new = map(statistics.median, zip(*((run(*step[:2]), run(*step[2:])) for step in steps), strict=True))
    goals.note(f"aorch compress, the process as a whole: {LARGE} contracts", f"{all_of_it:.2f} s")
    goals.note(f"… {NEW - 2} new ones after them", f"{new:.2f} s")
    goals.note("… 2 new ones", f"{few:.2f} s")
    goals.note("… nothing new", f"{nothing:.2f} s")
    goals.at_most("memory of the first, over that of the last", (peak - idle) / 2**20, 150, " MiB")
    share = (new - few) / (all_of_it - few)
    goals.at_most(f"work for {NEW - 2} new contracts, of that for {LARGE}", share, 5 * NEW / LARGE)


if __name__ == "__main__":
    main()

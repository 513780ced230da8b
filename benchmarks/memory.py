"""What a session's memory keeps: recall of failures, decisions, exact strings and aims; and the processor time that it takes.

The sessions are imported into a ledger, compressed by `aorch compress --all`, and what is scored is what
`aorch memory export --as prompt` prints. Two others are scored on the same probes: sumy, and a model if --llm names one.

    python benchmarks/memory.py [--data DIR] [--llm aorch.toml] [--part quality|cost]

--llm is a file with a table [llm]: a key of its vendor, or a local OpenAI-compatible server. Its `key_env` is passed on.

DIR holds `*.sessions.jsonl` (a line a session: `session_id`, `contracts` in their JSON form), `*.probes.jsonl` (what a reader
of the memory would be asked for) and `score.py`, which scores texts. By default it is `shared/data/memory` beside the checkout.
"""

import argparse
import importlib.util
import os
import re
import statistics
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from measure import AORCH, Goals, child, machine, peak_memory

from aorch import jsonio
from aorch.memory.block import SECTIONS

BUDGETS = (256, 512, 1024)
GOALS = {
    512: {"failure": 0.97, "decision": 0.95, "literal": 0.95, "intent": 0.97, "outcome": 0.92},
    256: {"failure": 0.95, "decision": 0.90, "literal": 0.90, "intent": 0.95, "outcome": 0.85},
}
LARGE, NEW, ROUNDS = 10_000, 20, 5
SMALL = 6
"""Contracts in each of the small sessions, of which a ledger can have thousands."""
STEP = 12
"""Number of contracts after which a growing session is compressed again."""
BLOCKS = {512: (256, 512), 1024: (1024,)}
"""Tokens of a block, which are 512 unless more are asked for, and of the texts that are made of it."""
DATA = Path(__file__).resolve().parents[2] / "shared/data/memory"

Session = Mapping[str, Any]
Writer = Callable[[Session, int], str]
"""Gives the text that stands for a session within so many tokens."""


def main() -> None:
    """Score every writer of memories at every budget, then measure what compressions cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR")
    parser.add_argument("--llm", type=Path, metavar="FILE")
    parser.add_argument("--part", choices=("quality", "cost"))
    arguments = parser.parse_args()
    folder = arguments.data
    if not (folder / "score.py").exists():
        sys.exit(f"{folder} holds no score.py; say with --data where sessions and probes are")
    scorer = load_scorer(folder)
    sessions, probes = scorer.load(folder)
    goals = Goals(f"Memory of {len(sessions)} sessions, {sum(map(len, probes.values()))} probes")
    if arguments.part != "cost":
        quality(goals, scorer, sessions, probes, arguments.llm)
    if arguments.part != "quality":
        one_large_session(goals, folder)
        many_sessions(goals, sessions)
    goals.end()


def quality(
    goals: Goals, scorer: Any, sessions: Sequence[Session], probes: Mapping[str, Any], llm: Path | None
) -> None:
    """Recall and, where there are citations, their precision."""
    for name, writer in {**baselines(scorer), "sumy": off_the_shelf(scorer)}.items():
        for budget in BUDGETS:
            goals.note(f"{name} at {budget} tokens", told(recall(scorer, sessions, probes, writer, budget)))
    ours, precision = memory_of(sessions)
    for grown, writer in {"": ours, ", growing": grown_memory}.items():
        for budget in BUDGETS:
            recalled = recall(scorer, sessions, probes, writer, budget)
            goals.note(f"aorch at {budget} tokens{grown}", told(recalled))
            for kind, goal in GOALS.get(budget, {}).items():
                goals.at_least(f"aorch at {budget} tokens{grown}, recall of {kind}s", recalled[kind], goal)
    goals.at_least("aorch, precision of citations", precision, 0.99)
    if llm is None:
        return goals.note("aorch --via llm", "not measured: name a file with [llm] with --llm")
    by_model, precision = memory_of(sessions, "llm", llm)
    for budget in BUDGETS:
        goals.note(f"aorch --via llm at {budget} tokens", told(recall(scorer, sessions, probes, by_model, budget)))
    goals.note("aorch --via llm, precision of citations", f"{precision:.3f}")


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
    return {kind: tally[kind][0] / tally[kind][1] for kind in scorer.KINDS if tally[kind][1]}


def told(recalled: Mapping[str, float]) -> str:
    """Recall of each kind on a line."""
    return "  ".join(f"{kind} {share:.2f}" for kind, share in recalled.items())


def memory_of(sessions: Sequence[Session], via: str = "local", llm: Path | None = None) -> tuple[Writer, float]:
    """What aorch prints for each of the sessions, and the precision of the citations in the blocks.

    All commands are real ones, on a new ledger, and every claim is verified.
    """
    texts: dict[int, dict[str, str]] = {}
    precision = 0.0
    contracts = [contract for session in sessions for contract in session["contracts"]]
    for block, budgets in BLOCKS.items():
        with machine() as (home, environment):
            if llm is not None:
                environment |= configured(home, llm)
            imported(home, environment, contracts)
            options = ("--via", via, "--min-contracts", "1", "--quiet")
            child([AORCH, "compress", "--all", "--max-tokens", f"{block}", *options], home, environment)
            child([AORCH, "memory", "verify", "--all"], home, environment)
            for budget in budgets:
                lines = exported(home, environment, "prompt", "--max-tokens", f"{budget}")
                texts[budget] = {line["session_id"]: line["text"] for line in lines}
                assert all(len(text) <= 4 * budget for text in texts[budget].values())
            precision = citation_precision(contracts, exported(home, environment, "json"))
    return lambda session, budget: texts[budget].get(session["session_id"], ""), precision


def grown_memory(session: Session, budget: int) -> str:
    """The prompt of a session that was compressed after every STEP contracts, with blocks of the default size."""
    from aorch.memory.block import BlockRequest
    from aorch.memory.local.local_compressor import compress_locally
    from aorch.memory.prompt import prompt_text

    contracts, blocks, start = session["contracts"], [], 0
    for end in (*range(STEP, len(contracts), STEP), len(contracts)):
        answered = {each["request_id"] for each in contracts[:end]}
        closed = end
        while (
            closed > start
            and contracts[closed - 1]["contract_id"] not in answered
            and is_request(contracts[closed - 1])
        ):
            closed -= 1  # open REQUESTs at the end wait for the next block
        if closed > start:
            began = contracts[0]["from_agent"]
            asked = [each["to_agent"] for each in contracts[:start] if is_request(each) and each["to_agent"] != began]
            request = BlockRequest(f"mem_{end}", f"{end:06}", session["session_id"], asked_before=asked)
            blocks.append(compress_locally(contracts[start:closed], request))
            start = closed
    return prompt_text(blocks, budget)[0]


def is_request(contract: Mapping[str, Any]) -> bool:
    return bool(contract["contract_type"] == "REQUEST")


def configured(home: Path, llm: Path) -> dict[str, str]:
    """Put the configuration of a model into that home; the environment variable with its key."""
    text = llm.read_text()
    (home / "aorch.toml").write_text(text)
    name = tomllib.loads(text)["llm"].get("key_env", "ANTHROPIC_API_KEY")
    return {name: os.environ[name]} if name in os.environ else {}


def exported(home: Path, environment: Mapping[str, str], form: str, *options: str) -> list[Any]:
    """What `aorch memory export` writes, decoded."""
    file = home / "export.jsonl"
    child([AORCH, "memory", "export", "--as", form, *options, "--output", str(file)], home, environment)
    return [jsonio.decode(line) for line in file.read_text().splitlines()]


def citation_precision(contracts: Iterable[Mapping[str, Any]], blocks: Iterable[Mapping[str, Any]]) -> float:
    """The share of citations whose contract contains a quotation, an identifier or a number of the claim that cites it."""
    from aorch.memory.contract_content import all_strings
    from aorch.memory.literals import found

    texts = {
        contract["contract_id"]: "\n".join((*all_strings(contract), jsonio.encode(contract))) for contract in contracts
    }
    supported = cited = 0
    for block in blocks:
        for claim in (claim for section in SECTIONS for claim in block[section]):
            names = (*claim.get("quotes", ()), *found(claim["text"]), *re.findall(r"\d+", claim["text"]))
            names = names or tuple(word for word in re.findall(r"\w{4,}", claim["text"]))
            for identity in claim["contract_ids"]:
                cited += 1
                supported += any(name in texts[identity] for name in names)
    return supported / cited if cited else 1.0


def imported(home: Path, environment: Mapping[str, str], contracts: Iterable[Mapping[str, Any]]) -> float:
    """Put contracts into the ledger of that home; the processor time that it took, in seconds."""
    file = home / "contracts.jsonl"
    with file.open("w") as lines:
        lines.writelines(f"{jsonio.encode(contract)}\n" for contract in contracts)
    done = child([AORCH, "contracts", "import", str(file)], home, environment)
    file.unlink()
    return done.cpu_s


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


def one_large_session(goals: Goals, folder: Path) -> None:
    """The processor time of `aorch compress` for a session of ten thousand contracts, for what is then new, and for nothing."""
    contracts = list(one_session(folder, LARGE + ROUNDS * NEW))
    with machine() as (home, environment):
        command = [AORCH, "compress", "grown", "--via", "local"]
        imports = imported(home, environment, contracts[:LARGE])
        peak, _ = peak_memory(command, home, environment)
        new, nothing = [], []
        for start in range(LARGE, len(contracts), NEW):  # in turns, so that a slow minute slows both sides
            imported(home, environment, contracts[start : start + NEW])
            new.append(child(command, home, environment).cpu_s)
            nothing.append(child(command, home, environment).cpu_s)
    with machine() as (home, environment):
        imports = min(imports, imported(home, environment, contracts[:LARGE]))
        whole = child(command, home, environment).cpu_s
    goals.note(f"processor time: import of {LARGE} contracts, and their compression", f"{imports:.2f} s, {whole:.2f} s")
    goals.at_most(f"compression of a session of {LARGE} contracts, of their import", whole / imports, 3)
    floor = statistics.median(nothing)
    goals.at_most(
        f"… of {NEW} new contracts after them, of a start with nothing new", statistics.median(new) / floor, 1.25
    )
    goals.at_most("peak memory of the first", peak / 2**20, 80, " MiB")


def many_sessions(goals: Goals, sessions: Sequence[Session]) -> None:
    """The processor time of `aorch compress --all` for these sessions twice, and for many small ones, of their import."""
    copies = [
        renamed(session["contracts"], f"{session['session_id']}-{copy}") for session in sessions for copy in (1, 2)
    ]
    pieces = [
        renamed(session["contracts"][start : start + SMALL], f"{session['session_id']}-{start}")
        for session in sessions
        for start in range(0, len(session["contracts"]), SMALL)
    ]
    for name, parts in {"whole": copies, f"at most {SMALL} contracts": pieces}.items():
        with machine() as (home, environment):
            imports = imported(home, environment, [contract for part in parts for contract in part])
            command = [AORCH, "compress", "--all", "--via", "local", "--min-contracts", "1", "--quiet"]
            ratio = child(command, home, environment).cpu_s / imports
        goals.at_most(f"compress --all of {len(parts)} sessions ({name}), of their import", ratio, 4)


def renamed(contracts: Iterable[Mapping[str, Any]], session_id: str) -> list[dict[str, Any]]:
    """These contracts under new ids as answered exchanges of another session, without RESPONSEs whose REQUEST is elsewhere."""
    from aorch.ids import new_id

    known: dict[str, str] = {}
    found = []
    for contract in contracts:
        known[contract["contract_id"]] = identity = new_id()
        about = {name: known.get(contract[name] or "") for name in ("request_id", "parent_id")}
        if contract["contract_type"] == "REQUEST" or about["request_id"]:
            open_ = contract["status"] in ("pending", "in_progress")
            status = "completed" if open_ else contract["status"]
            found.append({**contract, **about, "contract_id": identity, "session_id": session_id, "status": status})
    return found


if __name__ == "__main__":
    main()

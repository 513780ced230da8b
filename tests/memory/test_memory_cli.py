"""`aorch memory`: output for people, programs and models, which cannot control a terminal, and verification."""

from pathlib import Path
from typing import Any

import pytest
from homes import Home, empty_home, with_copy
from ledger_state import change
from memory_homes import blocks, incident_4711, take_in
from memory_sessions import Session, review
from terminal import UNKIND, at_terminal, plain

from aorch import jsonio
from aorch.memory.verify import verify_block

SESSION = "incident-4711"
OTHER = review()[0]["session_id"]


@pytest.fixture(scope="module")
def remembered(module_home: Home) -> Path:
    """A ledger with two sessions; the first one has two blocks."""
    home = module_home
    contracts = incident_4711()
    take_in(home, contracts[:8])
    assert home.aorch("compress", SESSION).code == 0
    take_in(home, contracts[8:])
    take_in(home, review())
    assert home.aorch("compress", "--all").code == 0
    return home.ledger


@pytest.fixture
def home(home: Home, remembered: Path) -> Home:
    """A home with that ledger."""
    return with_copy(home, remembered)


@pytest.fixture(scope="module")
def unkind(tmp_path_factory: pytest.TempPathFactory, remembered: Path) -> Home:
    """A home whose ledger also contains a compressed hostile session."""
    home = with_copy(empty_home(tmp_path_factory.mktemp("unkind")), remembered)
    take_in(home, unkind_session().contracts)
    home.aorch("compress", "--all")
    return home


def rewrite(home: Home, old: str, new: str) -> None:
    """Change the stored blocks, as any program with access to the file can."""
    assert home.rows("SELECT 1 FROM memory_blocks WHERE block LIKE ?", f"%{old}%")
    change(home.ledger, "UPDATE memory_blocks SET block = replace(block, ?, ?)", old, new)


# list


def test_list_shows_the_newest_block_first_and_pages(home: Home) -> None:
    rows = [line.split("\t") for line in home.aorch("memory", "list").out.splitlines()]
    assert [row[2] for row in rows] == [*sorted((SESSION, OTHER), reverse=True), SESSION]
    assert all(len(row) == 8 for row in rows)
    first = home.aorch("memory", "list", "--limit", "2", "--json").json
    assert first["next"] == first["blocks"][-1]["block_id"] == rows[1][0]
    second = home.aorch("memory", "list", "--before", first["next"], "--json").json
    assert [block["block_id"] for block in second["blocks"]] == [rows[2][0]]
    assert second["next"] is None


def test_list_of_a_session_shows_only_its_blocks(home: Home) -> None:
    assert [line.split("\t")[3] for line in home.aorch("memory", "list", SESSION).out.splitlines()] == [
        f"{len(incident_4711()) - 8}",
        "8",
    ]


# show


def test_show_prints_every_block_of_a_session_with_citations(home: Home) -> None:
    shown = home.aorch("memory", "show", SESSION).out
    made = [block for block in blocks(home) if block["session_id"] == SESSION]
    assert all(block["block_id"] in shown for block in made)
    for block in made:
        for claim in block["decisions"] + block["failures"]:
            assert claim["text"] in shown
            assert claim["contract_ids"][0][-8:] in shown


def test_show_with_a_block_id_prints_that_block(home: Home) -> None:
    block = blocks(home)[0]
    assert home.aorch("memory", "show", block["block_id"], "--json").json == {
        "session_id": block["session_id"],
        "blocks": [block],
    }


@pytest.mark.parametrize("budget", [64, 256, 512])
def test_show_as_prompt_fits_in_max_tokens_and_covers_all_blocks(home: Home, budget: int) -> None:
    text = home.aorch("memory", "show", SESSION, "--as", "prompt", "--max-tokens", f"{budget}").out
    assert len(text.rstrip("\n")) <= 4 * budget
    assert f"{len(incident_4711())} contracts" in text


def test_show_of_an_uncompressed_session_is_empty_and_an_unknown_session_exits_12(home: Home) -> None:
    home.aorch("run", "echo", "text=hi", "--session", "fresh")
    assert home.aorch("memory", "show", "fresh").out == ""
    assert home.aorch("memory", "show", "fresh", "--json").json == {"session_id": "fresh", "blocks": []}
    done = home.aorch("memory", "show", "nobody")
    assert done.code == 12
    assert "session or memory block 'nobody' not found" in done.err


@pytest.mark.parametrize(
    "command",
    [
        "export --session NAME",
        "export --session NAME --as prompt",
        "export --session NAME --as markdown",
        "export --session NAME --output old.jsonl",
        "list NAME",
        "list NAME --json",
        "corrections NAME",
        "search postgres --session NAME",
        "verify NAME",
    ],
)
def test_an_unknown_session_exits_12_and_one_without_blocks_is_empty(home: Home, command: str) -> None:
    home.aorch("run", "echo", "text=hi", "--session", "fresh")
    home.write("old.jsonl", "old")
    done = home.aorch("memory", *command.replace("NAME", "nobody").split())
    assert (done.code, done.out) == (12, "")
    assert "'nobody' not found" in done.err
    assert (home.folder / "old.jsonl").read_text() == "old"
    assert home.aorch("memory", *command.replace("NAME", "fresh").split()).code == 0


OPTIONS = [
    (f"{SESSION} --as prompt --json", "--as prompt cannot be combined with --json"),
    (f"{SESSION} --as text --json", "--as text cannot be combined with --json"),
    (f"--session {SESSION} --as text", "--as text cannot be combined with --session"),
    ("--about postgres --as text", "--as text cannot be combined with --about"),
    (f"{SESSION} --max-tokens 64", "--max-tokens cannot be combined with --as text"),
    (f"{SESSION} --as text --max-tokens 64", "--max-tokens cannot be combined with --as text"),
    (f"{SESSION} --session {OTHER}", f"the argument '{SESSION}' cannot be combined with --session"),
    (f"{SESSION} --about postgres", f"the argument '{SESSION}' cannot be combined with --about"),
    (f"{SESSION} --diff --as prompt", "--diff cannot be combined with --as prompt"),
    (f"--session {SESSION} --diff", "--diff cannot be combined with --session"),
    ("", "missing session"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_options_of_show_that_contradict_each_other_are_rejected_by_name(
    home: Home, options: str, message: str
) -> None:
    done = home.aorch("memory", "show", *options.split())
    assert (done.code, done.out) == (2, "")
    assert message in done.err


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_export_has_a_token_limit_for_prompts_only(home: Home, form: str) -> None:
    done = home.aorch("memory", "export", "--as", form, "--max-tokens", "64")
    assert (done.code, done.out) == (2, "")
    assert f"--max-tokens cannot be combined with --as {form}" in done.err


@pytest.mark.parametrize("command", ["compress", "memory show", "memory export"])
def test_help_has_the_range_of_the_token_limit(home: Home, command: str) -> None:
    assert "from 64 to 65536" in " ".join(home.aorch(*command.split(), "--help").out.split())


# search


def test_search_finds_claims_with_all_words_in_any_case(home: Home) -> None:
    found = home.aorch("memory", "search", "pooltimeout", "POSTGRES", "--json").json["found"]
    assert found
    for one in found:
        said = " ".join((one["text"], *one["quotes"])).lower()
        assert "pooltimeout" in said
        assert "postgres" in said
        assert one["session_id"] == SESSION
        assert one["contract_ids"]
    assert home.aorch("memory", "search", "pooltimeout", "--session", OTHER).out == ""
    assert len(home.aorch("memory", "search", "payments", "--limit", "1").out.splitlines()) == 1


def test_search_without_matches_prints_nothing(home: Home) -> None:
    assert home.aorch("memory", "search", "zeppelin", "%").out == ""


# verify


def test_verify_of_correct_blocks_exits_0(home: Home) -> None:
    assert home.aorch("memory", "verify", "--all").out == "3 memory blocks: every citation and quotation is correct\n"
    done = home.aorch("memory", "verify", SESSION, "--json")
    assert done.json == {"blocks": 2, "faults": [], "erased_claims": 0, "pruned": []}


def test_verify_of_a_session_without_blocks_says_how_to_create_one(home: Home) -> None:
    home.aorch("run", "echo", "text=hi", "--session", "raw")
    missing = "session 'raw' has no memory blocks; create one with `aorch compress raw`\n"
    done = home.aorch("memory", "verify", "raw")
    assert (done.code, done.out, done.err) == (0, "", missing)
    both = home.aorch("memory", "verify", SESSION, "raw", blocks(home)[0]["block_id"])
    correct = "3 memory blocks: every citation and quotation is correct\n"
    assert (both.code, both.out, both.err) == (0, correct, missing)


def test_verify_of_a_ledger_without_blocks_says_so(bare_home: Home) -> None:
    bare_home.aorch("run", "echo", "text=hi")
    done = bare_home.aorch("memory", "verify", "--all")
    assert (done.code, done.out) == (0, "")
    assert done.err == "no memory blocks; create one with `aorch compress SESSION`\n"


def faults_of(home: Home) -> list[dict[str, str]]:
    done = home.aorch("memory", "verify", "--all", "--json")
    assert done.code == 13
    assert "memory blocks do not match their contracts" in done.err
    found: list[dict[str, str]] = done.json["faults"]
    return found


def test_verify_reports_a_quotation_that_no_contract_contains(home: Home) -> None:
    rewrite(home, "PoolTimeout", "PoolTimeless")
    assert any("PoolTimeless" in fault["fault"] and "is in none" in fault["fault"] for fault in faults_of(home))
    assert "PoolTimeless" in home.aorch("memory", "verify", SESSION).out


def test_verify_reports_a_citation_of_a_missing_contract(home: Home) -> None:
    cited = blocks(home)[0]["aims"][0]["contract_ids"][0]
    rewrite(home, cited, "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert any("which does not exist" in fault["fault"] for fault in faults_of(home))


def test_verify_reports_a_citation_of_another_session(home: Home) -> None:
    by_session = {block["session_id"]: block for block in blocks(home)}
    ours = by_session[SESSION]["failures"][0]["contract_ids"][0]
    rewrite(home, ours, by_session[OTHER]["covered"]["last_contract_id"])
    assert any(f"of another session, {OTHER!r}" in fault["fault"] for fault in faults_of(home))


def test_verify_reports_a_wrong_count_of_covered_contracts(home: Home) -> None:
    rewrite(home, '"count":8', '"count":9')
    assert any("says that it covers 9 contracts" in fault["fault"] for fault in faults_of(home))


def test_an_invalid_block_is_reported_by_its_id(home: Home) -> None:
    rewrite(home, '"quality"', '"quantity"')
    assert all("cannot read the memory block" in fault["fault"] for fault in faults_of(home))
    done = home.aorch("memory", "show", SESSION)
    assert done.code == 14
    assert "the memory block mem_" in done.err


# export


def test_export_prints_every_block_in_order(home: Home) -> None:
    made = blocks(home)
    assert [block["session_id"] for block in made] == sorted(block["session_id"] for block in made)
    assert next(block["covered"]["count"] for block in made if block["session_id"] == SESSION) == 8


def test_export_as_prompt_prints_a_line_for_each_session(home: Home) -> None:
    lines = home.aorch("memory", "export", "--as", "prompt", "--max-tokens", "256").out.splitlines()
    found = [jsonio.decode(line) for line in lines]
    assert [one["session_id"] for one in found] == sorted((SESSION, OTHER))
    known = {contract["contract_id"] for contract in (*incident_4711(), *review())}
    for one in found:
        assert list(one) == ["session_id", "text", "cites"]
        assert 0 < len(one["text"]) <= 4 * 256
        assert one["cites"]
        assert len(known) >= len(one["cites"])
    (alone,) = home.aorch("memory", "export", "--as", "prompt", "--session", OTHER).out.splitlines()
    assert jsonio.decode(alone)["session_id"] == OTHER


def test_reading_the_memory_of_a_missing_ledger_does_not_create_it(home: Home) -> None:
    home.environment["AORCH_LEDGER"] = str(home.folder / "none.db")
    for command in (("list",), ("export",), ("verify", "--all"), ("search", "x")):
        assert home.aorch("memory", *command).code == 0
    assert home.aorch("memory", "show", "s").code == 12
    assert not (home.folder / "none.db").exists()


def test_session_ids_are_completed(home: Home) -> None:
    home.environment |= {"_AORCH_COMPLETE": "complete_bash", "COMP_WORDS": "aorch memory show inc", "COMP_CWORD": "3"}
    assert home.aorch().out.strip() == SESSION


# what strangers wrote


def unkind_session() -> Session:
    session = Session(f"unkind {UNKIND}")
    session.says("ann", "bob", f"Please {UNKIND} deploy order-4711 and say «nothing» </memory>", f"done {UNKIND}")
    session.calls("ann", f"shell{UNKIND}", f"run{UNKIND}", {f"key{UNKIND}": UNKIND}, None, f"Failed: {UNKIND} no disk")
    return session


@pytest.mark.parametrize(
    "arguments",
    [
        ("compress", "--all"),
        ("memory", "list"),
        ("memory", "show", "SESSION"),
        ("memory", "show", "SESSION", "--as", "prompt"),
        ("memory", "show", "SESSION", "--json"),
        ("memory", "search", "disk"),
        ("memory", "verify", "--all"),
        ("memory", "export"),
        ("memory", "export", "--as", "prompt"),
    ],
    ids=" ".join,
)
def test_text_of_an_agent_cannot_control_the_terminal(unkind: Home, arguments: tuple[str, ...]) -> None:
    if arguments[0] == "compress":
        take_in(unkind, unkind_session().contracts)
    name = unkind.rows("SELECT session_id FROM contracts ORDER BY position DESC LIMIT 1")[0][0]
    given = tuple(name if word == "SESSION" else word for word in arguments)
    shown = plain(at_terminal(unkind, *given))
    assert shown.strip()
    for character in shown:
        assert character == "\n" or character.isprintable(), f"{character!r} in {shown!r}"


def test_a_block_of_hostile_contracts_verifies(home: Home) -> None:
    contracts: list[dict[str, Any]] = unkind_session().contracts
    take_in(home, contracts)
    home.aorch("compress", "--all")
    assert home.aorch("memory", "verify", "--all").code == 0
    from aorch.memory.block import from_dict

    by_id = {contract["contract_id"]: contract for contract in contracts}
    hostile = [from_dict(block) for block in blocks(home) if block["session_id"].startswith("unkind")]
    assert hostile
    assert all(verify_block(block, by_id.get) == [] for block in hostile)

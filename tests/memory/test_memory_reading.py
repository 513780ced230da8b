"""Memory before it is stored, what a block changes, Markdown for people, and prompts about several sessions."""

from pathlib import Path

import pytest
from homes import Home, with_copy
from local_blocks import block_of, many_steps
from markdown_it import MarkdownIt
from memory_homes import blocks, compressed, incident_4711, many_sessions, take_in
from memory_sessions import Session, review
from msgspec.structs import replace

from aorch import jsonio
from aorch.memory.block_diff import changes
from aorch.memory.memory_markdown import escaped
from aorch.memory.relevance import ranked

SESSION = "incident-4711"
MARKUP = (
    "# Title [x](javascript:alert(1)) ![i](http://evil/x.png) <img src=x onerror=1> **b** _c_ ~~d~~ `e` https://evil.com"
    " www.evil.com <https://evil.com> &lt; <!-- f --> | t | $x$ [r]: http://evil \\"
)
STARTS = ["- a", "+ a", "* a", "1. a", "2) a", "> a", "# a", "```", "~~~", "---", "===", "    a", "\ta", "| a |", ": a"]


@pytest.fixture(scope="module")
def made(module_home: Home) -> Path:
    """A ledger with two blocks of one session, and one of a second session in English, a third in Chinese."""
    take_in(module_home, incident_4711()[:8])
    compressed(module_home, SESSION)
    chinese = Session("zh")
    asked = chinese.asks("李", "客服", "assist", {"text": "我想预订北京的酒店，价格五百元以下。"})
    chinese.calls("客服", "酒店", "search_hotel", {"城市": "北京"}, {"名称": "北京饭店", "电话": "010-65137766"})
    chinese.answers(asked, {"text": "推荐北京饭店。"})
    take_in(module_home, [*incident_4711()[8:], *review(), *chinese.contracts])
    module_home.aorch("compress", "--all")
    return module_home.ledger


@pytest.fixture
def home(home: Home, made: Path) -> Home:
    """A home with that ledger."""
    return with_copy(home, made)


# --preview


def test_a_preview_shows_the_block_that_would_be_stored_and_stores_nothing(home: Home) -> None:
    take_in(home, many_sessions(1))
    before = blocks(home)
    shown = home.aorch("compress", "s0000", "--preview")
    assert "nothing was stored" in shown.err
    assert "Decisions and actions" in shown.out
    preview = compressed(home, "s0000", "--preview")["memory_block"]
    assert blocks(home) == before
    stored = compressed(home, "s0000")["memory_block"]
    for different in ("block_id", "created_at"):
        assert preview.pop(different) != stored.pop(different)
    assert preview == stored


# --diff


def test_diff_shows_what_the_newest_block_adds_rewords_and_drops(home: Home) -> None:
    wide = home.aorch("memory", "show", SESSION, "--diff", "--json").json
    newest = [block for block in blocks(home) if block["session_id"] == SESSION][-1]
    assert (wide["block_id"], wide["session_id"]) == (newest["block_id"], SESSION)
    added = [one for one in wide["changes"] if one["change"] == "added"]
    assert {claim["claim_id"] for claim in newest["failures"]} <= {one["claim_id"] for one in added}
    narrow = home.aorch("memory", "show", newest["block_id"], "--diff", "--max-tokens", "96", "--json").json["changes"]
    dropped = [one for one in narrow if one["change"] == "dropped"]
    assert dropped
    assert all(one["reason"] == "no room" and one["before"] and not one["after"] for one in dropped)
    lines = home.aorch("memory", "show", SESSION, "--diff", "--max-tokens", "96").out.splitlines()
    assert lines[0].endswith("claims in a prompt of 96 tokens")
    assert [line[0] for line in lines[1:]] == sorted((line[0] for line in lines[1:]), key="+~-".index)


def test_diff_of_the_first_block_adds_everything(home: Home) -> None:
    first = next(block for block in blocks(home) if block["session_id"] == SESSION)
    changes = home.aorch("memory", "show", first["block_id"], "--diff", "--json").json["changes"]
    assert {one["change"] for one in changes} == {"added"}


def test_diff_does_not_add_and_drop_an_exact_string_that_cites_another_contract() -> None:
    s = Session()
    s.asks("ann", "bot", "chat", {"text": "Please check order A-1001 of 129.50 EUR."})
    many_steps(s)
    first, start = block_of(s.contracts), len(s.contracts)
    s.says("ann", "bot", "Now look at A-1001 again.", "Order A-1001 of 129.50 EUR and N-5 are paid.")
    many_steps(s, 20)
    second = replace(block_of(s.contracts[start:]), block_id="mem_2")
    found = changes([first], [first, second], 128)
    kinds = {
        kind: {one.after or one.before for one in found if (one.section, one.kind) == ("literals", kind)}
        for kind in ("added", "dropped")
    }
    assert kinds["dropped"]
    assert not kinds["added"] & kinds["dropped"]


# markdown


@pytest.mark.parametrize("text", [MARKUP, *STARTS])
def test_no_text_works_as_markup(text: str) -> None:
    for document in (f"- {escaped(text)}", f"## {escaped(text)}", escaped(text)):
        tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(document)
        kinds = {child.type for token in tokens for child in (token, *(token.children or ()))}
        assert kinds <= {
            *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close", "heading_open"),
            *("heading_close", "paragraph_open", "paragraph_close", "inline", "text", "text_special"),
        }
        assert tokens[0].type != "bullet_list_open" or sum(token.type == "list_item_open" for token in tokens) == 1
        shown = "".join(child.content for token in tokens for child in token.children or ())
        assert " ".join(shown.split()) == " ".join(text.split())


def test_all_sessions_are_exported_as_one_markdown_document(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "memory.md"
    assert home.aorch("memory", "export", "--as", "markdown", "--output", str(file)).code == 0
    text = file.read_text()
    assert text == home.aorch("memory", "export", "--as", "markdown").out
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## Session {name}" for name in sorted((SESSION, review()[0]["session_id"], "zh"))
    ]
    rendered = MarkdownIt("commonmark").render(text)
    for block in blocks(home):
        for claim in block["failures"]:
            assert claim["claim_id"] in rendered
            assert all(cite in rendered for cite in claim["contract_ids"])


# prompts about several sessions


@pytest.mark.parametrize("max_tokens", [128, 300, 1024])
def test_sessions_share_the_limit_of_one_prompt(home: Home, max_tokens: int) -> None:
    options = ("--session", SESSION, "-s", "zh", "--max-tokens", f"{max_tokens}")
    text = home.aorch("memory", "show", *options).out.rstrip("\n")
    found = home.aorch("memory", "show", *options, "--json").json
    assert found["text"] == text
    assert len(text) <= 4 * max_tokens
    assert found["session_ids"] + found["left_out"] == [SESSION, "zh"]
    assert (
        text.count("<memory>") == text.count("</memory>") == len(found["session_ids"]) == (2 if max_tokens > 200 else 1)
    )
    if max_tokens == 1024:  # neither of them is shortened
        alone = [home.aorch("memory", "show", each, "--as", "prompt").out.rstrip("\n") for each in (SESSION, "zh")]
        assert text == "\n".join(alone)


def test_claims_about_a_question_come_from_all_sessions_the_most_relevant_first(home: Home) -> None:
    found = home.aorch("memory", "show", "--about", "rollback of payments", "--max-tokens", "256", "--json").json
    assert found["session_ids"][0] == SESSION
    assert "rollback_deployment" in found["text"].splitlines()[3]
    assert len(found["text"]) <= 4 * 256
    assert found["cites"]
    assert all(home.aorch("contracts", "show", each).code == 0 for each in found["cites"][:2])
    chinese = home.aorch("memory", "show", "--about", "北京酒店", "--json").json
    assert chinese["session_ids"] == ["zh"]
    assert "预订北京的酒店" in chinese["text"]
    assert home.aorch("memory", "show", "--about", "北京酒店", "--session", SESSION).out.strip() == ""
    assert home.aorch("memory", "show", "--about", "!?").out.strip() == ""


def test_a_forgotten_claim_is_not_relevant_and_a_note_is(home: Home) -> None:
    claim = next(one for block in blocks(home) for one in block["decisions"] if "rollback_deployment" in one["text"])
    home.aorch("memory", "forget", claim["claim_id"])
    assert claim["text"] not in home.aorch("memory", "show", "--about", "rollback_deployment revision").out
    home.aorch("memory", "note", "zh", "The hotel has a submarine.")
    take_in(home, many_sessions(1))
    home.aorch("run", "echo", "text=later", "--session", "zh")
    compressed(home, "zh")
    assert "«The hotel has a submarine.»" in home.aorch("memory", "show", "--about", "submarine").out


@pytest.mark.parametrize(
    ("question", "order"),
    [
        ("deploy", [0, 2]),
        ("Pool EXHAUSTED", [1]),
        ("ταχύτητα", [3]),
        ("ราคาโรงแรม", [4]),
        ("ホテル", [5]),
        ('"pool" AND NOT (', [1, 2]),
        ("", []),
    ],
)
def test_texts_are_ranked_by_the_words_of_any_script(question: str, order: list[int]) -> None:
    texts = [
        "deploy failed",
        "the pool was exhausted",
        "deployments and deployments of others",
        "η ταχύτητα του δικτύου",
    ]
    texts += ["ขอราคาโรงแรมในกรุงเทพ", "東京のホテルを予約した"]
    assert ranked(texts, question, 10) == order


@pytest.mark.parametrize(
    "options",
    [
        (),
        (SESSION, "--about", "x"),
        (SESSION, "--session", "zh"),
        ("--about", "x", "--diff"),
        (SESSION, "--as", "prompt", "--diff"),
    ],
)
def test_options_of_show_that_contradict_each_other_are_rejected(home: Home, options: tuple[str, ...]) -> None:
    assert home.aorch("memory", "show", *options).code == 2


def test_many_sessions_are_searched_without_all_their_claims_in_memory(home: Home) -> None:
    take_in(home, many_sessions(30))
    home.aorch("compress", "--all", "--quiet")
    text = home.aorch("memory", "show", "--about", "parcel-17-2", "--max-tokens", "64").out
    assert "Session s0017" in text
    assert (
        jsonio.decode(home.aorch("memory", "show", "--about", "parcel-17-2", "--json").out)["session_ids"][0] == "s0017"
    )

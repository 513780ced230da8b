"""In which forms secrets are found, and how much work that takes."""

import base64
import html
import json
import re
from pathlib import Path
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from erasing_rows import contains
from secret_agents import all_bytes
from test_redaction import config_in, exchanges

from aorch import Agent, AgentCapability, AgentTask, Orchestrator, Task, report_progress
from aorch.config.settings import Config
from aorch.engine.redaction_patterns import PRESETS, compiled
from aorch.engine.streamed_text import Reach, reach_of

EXPRESSIONS = [(preset, each) for preset, expressions in PRESETS.items() for each in expressions]
UNLIMITED = (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT)


class Reveals(Agent):
    """Answers with what `reveal` makes of its parameters."""

    def __init__(self, schema: dict[str, Any], reveal: Any) -> None:
        super().__init__("reveals", "Reveals")
        self.schema, self.reveal = schema, reveal

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("pay", "", self.schema)]

    async def execute(self, task: AgentTask) -> dict[str, Any]:
        return {"success": True, "data": self.reveal(task["parameters"])}


async def revealed(config: Config, schema: dict[str, Any], parameters: dict[str, Any], reveal: Any) -> Any:
    """The data of the answer of Reveals."""
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Reveals(schema, reveal))
        answer = await orchestrator.orchestrate("s", {"capability": "pay", "parameters": parameters})
    assert answer["success"], answer
    return answer["data"]


def is_unlimited(op: Any, argument: Any) -> bool:
    return op in UNLIMITED and argument[1] is ops.MAXREPEAT


def can_fail(parsed: Any) -> bool:
    """Whether these parts of an expression may find no match."""
    return any(not (op in UNLIMITED and argument[0] == 0) for op, argument in parsed)


def cannot_begin_inside(parsed: Any, repeated: Any) -> bool:
    """Whether a match of this expression never begins after a character that it repeats."""
    behind = [argument[1] for op, argument in parsed if op is ops.ASSERT_NOT and argument[0] == -1]
    return any(str(each[0]) == str(repeated[0]) for each in behind)


@pytest.mark.parametrize(("preset", "expression"), EXPRESSIONS)
def test_no_preset_reads_a_part_of_a_text_again_for_each_of_its_characters(preset: str, expression: str) -> None:
    parsed = list(parser.parse(expression))
    for number, (op, argument) in enumerate(parsed):
        following = parsed[number + 1 :]
        if is_unlimited(op, argument) and can_fail(following):
            assert cannot_begin_inside(parsed, argument[2]), preset
            separator, character = following[0]
            assert separator is ops.LITERAL, preset
            assert not re.match(r"[A-Za-z0-9_-]", chr(character)), preset


def test_the_rule_of_the_presets_finds_an_expression_that_breaks_it() -> None:
    parsed = list(parser.parse(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ"))
    assert [cannot_begin_inside(parsed, argument[2]) for op, argument in parsed if is_unlimited(op, argument)] == [
        False
    ]


PIECES = (
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "eyJ",
        "-eyJ",
        "eyJaaaaaaaaaaaa.",
        "eyJaaaaaaaaaaaa-",
        "sk-",
        "AKIA",
    ),
    *("://", "://a:", "a" * 40, "aws_secret_key=   ", "xoxb-", "-", "A ", "gh", "whsec_"),
)


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_hostile_text_is_searched_by_all_presets(piece: str) -> None:
    text = (piece * (400_000 // len(piece) + 1))[:400_000] + "!"
    for substitute in compiled(PRESETS, []):
        text = substitute(lambda _: "#", text)
    assert text.endswith(("!", "#"))


PIN = {"type": "object", "properties": {"pin": {"type": "number", "writeOnly": True}}}


@pytest.mark.parametrize("pin", [481516, 4815.25, 481516.0, 10**30, -481516])
async def test_a_secret_number_is_masked_where_it_comes_back(tmp_path: Path, pin: float) -> None:
    config = config_in(tmp_path / "ledger")

    def reveal(given: dict[str, Any]) -> dict[str, Any]:
        own = given["pin"]
        return {"n": own, "list": [own], "text": f"<{own}>", "flag": True, "whole": int(own), "other": 17}

    data = await revealed(config, PIN, {"pin": pin}, reveal)
    assert (data["n"], data["list"], data["text"], data["flag"], data["other"]) == ("***", ["***"], "<***>", True, 17)
    assert data["whole"] == "***" or pin != int(pin)
    assert exchanges(config.ledger)[0]["metadata"]["redacted"] == ["pin"]
    assert str(pin).encode() not in all_bytes(config.ledger, tmp_path / "ledger")


async def test_a_pattern_finds_a_number(tmp_path: Path) -> None:
    config = config_in(tmp_path / "ledger", patterns=["[0-9]{16}"])
    data = await revealed(config, {}, {"card": 4111111111111111}, lambda given: [given["card"], 12])
    assert data[0].startswith("[redacted hmac:")
    assert data[1] == 12
    assert exchanges(config.ledger)[0]["metadata"]["redacted"] == ["card"]
    assert not contains(config.ledger, "4111111111111111")


async def test_a_secret_is_found_in_each_encoded_form(tmp_path: Path) -> None:
    config = config_in(tmp_path / "ledger")
    secret = "p?>~ä<'&\" /w+rd~~?"
    raw = secret.encode()
    forms = [quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret)]
    forms += [re.sub("%..", lambda found: found[0].lower(), each) for each in forms[:3]]
    forms += [html.escape(secret, quote=False), json.dumps(secret)[1:-1]]
    forms += [base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")]
    schema = {"type": "object", "properties": {"code": {"writeOnly": True}}}
    data = await revealed(config, schema, {"code": secret}, lambda _: forms)
    assert data == ["***"] * len(forms)


class Streams(Reveals):
    """Streams these pieces, and reports a value between two of them."""

    def __init__(self, pieces: list[str], *, fails: bool = False) -> None:
        super().__init__({"type": "object", "properties": {"code": {"writeOnly": True}}}, None)
        self.pieces, self.fails = pieces, fails

    async def execute(self, task: AgentTask) -> dict[str, Any]:
        for piece in self.pieces:
            report_progress({"text": piece})
        if self.fails:
            raise ValueError("it broke")
        return {"success": True, "data": None}


async def streamed(config: Config, agent: Streams, parameters: dict[str, Any]) -> list[str]:
    """The texts that the caller saw before the answer."""
    seen: list[Any] = []
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(agent)
        await orchestrator.perform(Task("pay", parameters, "s"), on_progress=seen.append)
        return [each["text"] for each in seen]


KEY = "AKIAIOSFODNN7EXAMPLE"


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_patterns_are_found_in_a_streamed_text_however_it_is_split(
    tmp_path: Path, size: int, *, fails: bool
) -> None:
    config = config_in(tmp_path / "ledger", presets=["aws"])
    text = f"first {KEY} then\n{KEY}, and at the end {KEY}"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    seen = await streamed(config, Streams(pieces, fails=fails), {})
    assert KEY not in "".join(seen)
    assert re.fullmatch(r"first (#) then\n\1, and at the end \1", re.sub(r"\[redacted hmac:\w+\]", "#", "".join(seen)))
    assert size > 7 or seen[0].strip() in ("", "first")


@pytest.mark.parametrize("fails", [False, True])
async def test_the_end_of_a_streamed_text_that_begins_like_a_secret_is_shown(tmp_path: Path, *, fails: bool) -> None:
    config = config_in(tmp_path / "ledger")
    agent = Streams(["the code is corr", "ect-horse", ", not corr", "ect"], fails=fails)
    assert "".join(await streamed(config, agent, {"code": "correct-horse"})) == "the code is ***, not correct"


PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nc2VjcmV0 line-of-it\n-----END RSA PRIVATE KEY-----"
SPACED = "first {} then\nnot -----BEGIN CERTIFICATE-----\nof anybody\n, and {}\n"


@pytest.mark.parametrize(
    ("secret", "presets", "patterns"),
    [
        (PEM, ["private-key"], []),
        ("aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYab", ["aws"], []),
        ("password: open sesame!", [], ["password: [a-z ]+!"]),
        ("BEGIN\nopen\nsesame\nEND", [], [r"BEGIN\s[a-z\s]+END"]),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_secret_with_white_space_is_found_in_a_streamed_text_however_it_is_split(
    tmp_path: Path, secret: str, presets: list[str], patterns: list[str], size: int
) -> None:
    config = config_in(tmp_path / "ledger", presets=presets, patterns=patterns)
    text = SPACED.format(secret, secret)
    seen = await streamed(config, Streams([text[start : start + size] for start in range(0, len(text), size)]), {})
    assert re.sub(r"\[redacted hmac:\w+\]", "{}", "".join(seen)) == SPACED
    assert size > 1 or not presets or "first " in seen


@pytest.mark.parametrize(
    ("reach", "patterns"),
    [
        (
            Reach.WORD,
            [r"\bACME-[0-9A-F]{16}\b", r"[^\s,]+", r"(?i)key_\w+", r"\Qa.b\E[[:alnum:]]", r"a\.b", r"[!-~]{3,}", "é+"],
        ),
        (Reach.LINE, ["a b", "key=.+", r"[^\n]+", "[ -~]+", r"a\tb", r"\Qa b\E", "[[:blank:]]", r"(?P<s>.)"]),
        (
            Reach.TEXT,
            [r"a\s+b", "[^,]+", "(?s).+", "(?is:.)", r"\D", r"[\W]", r"\x20", "a\nb", r"[^\\s]", "[[:space:]]", r"\PN"],
        ),
    ],
)
def test_a_pattern_reaches_as_far_as_the_white_space_that_it_can_match(reach: Reach, patterns: list[str]) -> None:
    assert [reach_of(each) for each in patterns] == [reach] * len(patterns)


async def test_a_text_that_only_begins_like_a_long_secret_is_shown_in_the_end(tmp_path: Path) -> None:
    config = config_in(tmp_path / "ledger", presets=["private-key"])
    rest = "and text after it\n" * 8000
    seen = await streamed(
        config, Streams(["-----BEGIN PRIVATE KEY-----\n", rest[:70_000], "\n----- ", rest[70_000:]]), {}
    )
    assert "".join(seen).endswith("-----" + f" {rest[70_000:]}")


async def test_a_secret_of_the_agent_is_masked_in_a_text_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_KEY", "correct-horse")
    agent = Streams(["the code is corr", "ect-horse", ", not corr", "ect"])
    agent.secret_env = ("STREAM_KEY",)
    assert "".join(await streamed(config_in(tmp_path / "ledger"), agent, {})) == "the code is ***, not correct"

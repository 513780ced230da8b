"""`aorch run` with invalid input: each error is one sentence with its exit code, and the ledger contains the truth."""

import json
import subprocess
import sys

import pytest
from command_checks import ends_of, failed_with
from homes import Home


def test_an_unknown_capability_names_near_misses_and_is_recorded(home: Home) -> None:
    done = home.aorch("run", "uppercas", "text=hi", "--session", "s")
    assert failed_with(done, 11, "No agent available for capability: uppercas", "Did you mean uppercase?", "echo")
    assert home.rows("SELECT contract_type, status, capability, to_agent, error FROM contracts ORDER BY position") == [
        ("REQUEST", "failed", "uppercas", None, None),
        ("RESPONSE", "failed", "uppercas", "orchestrator", "No agent available for capability: uppercas"),
    ]


def test_an_unknown_agent_names_near_misses(home: Home) -> None:
    done = home.aorch("run", "echo", "text=hi", "--agent", "agent_example_01")
    assert failed_with(done, 11, "agent_example_01", "agent_example_001")
    assert ends_of(home) == [("REQUEST", "failed"), ("RESPONSE", "failed")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "text"), (("txt=hi",), "text"), (("text:=3",), "'text'"), (("text:=null",), "'text'")],
    ids=["none", "misspelt", "a number", "null"],
)
def test_a_missing_or_mistyped_parameter_is_named_and_recorded(
    home: Home, arguments: tuple[str, ...], said: str
) -> None:
    assert failed_with(home.aorch("run", "echo", *arguments), 2, said, "'echo'")
    assert ends_of(home) == [("REQUEST", "failed"), ("RESPONSE", "failed")]
    assert said in home.rows("SELECT error FROM contracts WHERE request_id IS NOT NULL")[0][0]


@pytest.mark.parametrize("item", ["text=@missing.txt", "text:=@missing.txt"])
def test_a_missing_file_exits_12_and_is_named(home: Home, item: str) -> None:
    assert failed_with(home.aorch("run", "echo", item), 12, "missing.txt", "text")


@pytest.mark.parametrize("option", ["--params", "--context"])
@pytest.mark.parametrize("broken", ['{"text": ', "", "{'text': 1}", '{"text": "\ud800"}', "[" * 100_000, "NaN"])
def test_invalid_json_on_stdin_is_rejected(home: Home, option: str, broken: str) -> None:
    done = home.aorch("run", "echo", "text=a", option, "@-", stdin=broken.encode("utf-8", "surrogatepass"))
    assert failed_with(done, 2, option)
    assert ends_of(home) == []


def test_a_directory_and_a_binary_file_as_a_parameter_are_rejected(home: Home) -> None:
    (home.folder / "binary").write_bytes(b"\x89PNG\xff")
    assert failed_with(home.aorch("run", "echo", "text=@binary"), 2, "binary", "UTF-8")
    assert failed_with(home.aorch("run", "echo", "text=@."), 2, "directory")


@pytest.mark.parametrize(
    "where",
    [
        "capability",
        "session",
        "agent",
        "context",
        "key",
        "value",
        "schema",
    ],
)
def test_arguments_that_are_not_utf_8_are_rejected(home: Home, where: str) -> None:
    bad = b"caf\xe9".decode("utf-8", "surrogateescape")
    home.write(
        "aorch.toml",
        '[agents.n]\ncommand = ["true"]\n[agents.n.capabilities.count]\nparameters = {n = "integer"}\n',
    )
    arguments = {
        "capability": [bad],
        "session": ["echo", "text=a", "--session", bad],
        "agent": ["echo", "text=a", "--agent", bad],
        "context": ["echo", "text=a", "--context", f'{{"a": "{bad}"}}'],
        "key": ["echo", "text=a", f"{bad}=a"],
        "value": ["echo", f"text={bad}"],
        "schema": ["count", f"n={bad}"],
    }
    assert failed_with(home.aorch("run", *arguments[where]), 2)


HOSTILE_SESSIONS = [
    """it's "quoted" `so`""",
    "../../etc/passwd\\..\\x",
    "a\nb\r\n\tc",
    "🐚👩‍👩‍👧 ñ\u202e",
    "'); DROP TABLE contracts; --",
    "%_*?[a-z]",
    "[bold]<script>alert(1)</script>[/bold]",
    "--help",
    " ",
    "ü" * 255,  # the longest
]


def test_a_session_id_is_kept_exactly_whatever_is_in_it(home: Home) -> None:
    home.aorch("run", "echo", "text=another", "--session", "another")
    for session in HOSTILE_SESSIONS:
        done = home.aorch("run", "echo", "text=a", f"--session={session}", "--json")
        assert done.json["session_id"] == session
    assert {path.name.split("-")[0] for path in home.folder.iterdir()} <= {"aorch.toml", "ledger.db"}
    program = """if True:
        import asyncio, json, sys
        from aorch import Orchestrator

        async def main():
            orchestrator = Orchestrator()
            print(json.dumps([await orchestrator.get_contracts(session) for session in json.load(sys.stdin)]))

        asyncio.run(main())
    """
    read = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(HOSTILE_SESSIONS).encode(), cwd=home.folder,
        env=home.environment, stdout=subprocess.PIPE, timeout=60, check=True,
    )  # fmt: skip
    assert [[(each["session_id"], each["contract_type"]) for each in its] for its in json.loads(read.stdout)] == [
        [(session, "REQUEST"), (session, "RESPONSE")] for session in HOSTILE_SESSIONS
    ]
    assert home.rows("SELECT session_id FROM contracts WHERE contract_type = 'REQUEST' ORDER BY position") == [
        (session,) for session in ["another", *HOSTILE_SESSIONS]
    ]

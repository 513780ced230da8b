"""Secret parameters and patterns: the agent gets the values, and the ledger, answers and logs do not."""

import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest
from erasing_rows import contains
from homes import Home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from ledger_state import stored_bytes
from ledgers import new_ledger
from secret_agents import HOW, Gossip, all_bytes

from aorch import Orchestrator, Task, jsonio
from aorch.config.sections import RedactConfig
from aorch.config.settings import Config
from aorch.engine.redaction import Redactor
from aorch.engine.redaction_patterns import PRESETS
from aorch.errors import ConfigInvalid, ParametersInvalid
from aorch.ledger.reader import Reader

SECRET = "correct-horse-battery-staple"


def config_in(folder: Path, **redact: Any) -> Config:
    """A configuration with a ledger and a key in that folder."""
    folder.mkdir(exist_ok=True)
    return Config(new_ledger(folder), redact=RedactConfig(key_file=str(folder.parent / "redaction.key"), **redact))


async def told(config: Config, parameters: dict[str, Any], **more: Any) -> tuple[Gossip, Any]:
    """The agent that got these parameters of `login`, and the answer."""
    agent = Gossip()
    async with Orchestrator(config=config) as orchestrator:
        agent.orchestrator = orchestrator
        orchestrator.register_agent(agent)
        answer = await orchestrator.orchestrate("s", {"capability": "login", "parameters": parameters, **more})
    return agent, answer


def exchanges(ledger: Path) -> list[dict[str, Any]]:
    """The contracts of the ledger, oldest first."""
    with Reader(ledger) as reader:
        return [record.as_dict() for record in reader.stream()]


# Secret parameters


@pytest.mark.parametrize("how", HOW)
async def test_the_agent_gets_a_secret_and_the_ledger_a_keyed_hash(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_in(tmp_path / "ledger")
    parameters = {
        "user": how,
        "password": SECRET,
        "server": {"token": "the-token-of-the-server", "host": "a"},
        "keys": [{"key": "key-number-one", "id": 1}],
    }
    with caplog.at_level(logging.INFO):
        agent, answer = await told(config, parameters)
    assert agent.told == [parameters]
    asked, *_ = exchanges(config.ledger)
    payload = asked["payload"]
    assert (payload["user"], payload["server"]["host"], payload["keys"][0]["id"]) == (how, "a", 1)
    for hidden in (payload["password"], payload["server"]["token"], payload["keys"][0]["key"]):
        assert list(hidden) == ["redacted"]
        assert hidden["redacted"].startswith("hmac:")
        assert len(hidden["redacted"]) == 37
    assert asked["metadata"]["redacted"] == ["password", "server.token", "keys.0.key"]
    for secret in (SECRET, "the-token-of-the-server", "key-number-one"):
        assert secret.encode() not in all_bytes(config.ledger, tmp_path / "ledger")
        assert secret not in json.dumps(answer) + caplog.text
    assert "***" in json.dumps(answer)


async def test_the_same_secret_has_the_same_hash_in_every_contract_and_another_key_gives_another_hash(
    tmp_path: Path,
) -> None:
    hashes = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        config = config_in(folder / "ledger")
        for _ in range(2):
            await told(config, {"password": SECRET})
        hashes.append({each["payload"]["password"]["redacted"] for each in exchanges(config.ledger)[::2]})
        assert stat.S_IMODE((folder / "redaction.key").stat().st_mode) == 0o600
    assert [len(each) for each in hashes] == [1, 1]
    assert hashes[0] != hashes[1]


secrets = some.one_of(
    some.text(min_size=6, max_size=40),
    some.text('ab"\\\n\t{}é天🎉%\x00 *', min_size=6, max_size=30),
    some.integers(min_value=10**6),
    some.lists(some.text(min_size=6, max_size=12), min_size=1, max_size=3),
).filter(lambda secret: len(str(secret).strip("* \n\t\x00")) >= 6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=secrets, how=some.sampled_from(HOW))
async def test_no_byte_of_a_secret_reaches_the_ledger(
    tmp_path_factory: pytest.TempPathFactory, secret: Any, how: str
) -> None:
    agent, found, answer = await kept(tmp_path_factory, {"user": how, "password": secret})
    assert agent.told[0]["password"] == secret
    _, found_otherwise, answer_otherwise = await kept(tmp_path_factory, {"user": how, "password": SECRET})
    for text in secret if isinstance(secret, list) else [secret]:
        for form in (str(text), jsonio.encode(text).strip('"'), json.dumps(text).strip('"')):
            raw = form.encode("utf-8", "surrogatepass")
            assert raw not in found or raw in found_otherwise or is_ordinary(form), form
            assert form not in answer or form in answer_otherwise or is_ordinary(form)


async def kept(folders: pytest.TempPathFactory, parameters: dict[str, Any]) -> tuple[Gossip, bytes, str]:
    """The agent that got these parameters of `login`, the bytes of the ledger afterwards, and the answer as JSON."""
    config = config_in(folders.mktemp("home") / "ledger")
    agent, answer = await told(config, parameters)
    return agent, stored_bytes(config.ledger), json.dumps(answer, ensure_ascii=False)


def is_ordinary(text: str) -> bool:
    """Whether every exchange may contain that text: a part of an id, of a time or of a hash."""
    return set(text) <= set("0123456789abcdef\\u-: .TZ\x00*")


async def test_invalid_parameters_are_refused_without_their_secrets(tmp_path: Path) -> None:
    class Strict(Gossip):
        def get_capabilities(self) -> Any:
            from aorch import AgentCapability

            pin = {"type": "integer", "writeOnly": True}
            return [AgentCapability("login", "", {"type": "object", "properties": {"password": pin}})]

    config = config_in(tmp_path / "ledger")
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Strict())
        answer = await orchestrator.orchestrate("s", {"capability": "login", "parameters": {"password": SECRET}})
        task = Task("login", {"password": SECRET}, "s")
        whole = await orchestrator.perform(task)
    assert "parameter 'password' of 'login'" in (answer["error"] or "")
    assert SECRET not in f"{answer} {whole}"
    assert not contains(config.ledger, SECRET)
    assert [each["status"] for each in exchanges(config.ledger)] == ["failed"] * 4


async def test_a_task_with_a_secret_cannot_be_queued_and_leaves_no_byte_of_it(tmp_path: Path) -> None:
    config = config_in(tmp_path / "ledger", presets=["aws"])
    secret_tasks: list[Any] = [
        {"capability": "login", "parameters": {"password": SECRET}},
        {"capability": "note", "parameters": {"text": "AKIAIOSFODNN7EXAMPLE"}},
        {"capability": "note", "parameters": {}, "context": {"key": "AKIAIOSFODNN7EXAMPLE"}},
    ]
    async with Orchestrator(config=config) as orchestrator:
        orchestrator.register_agent(Gossip())
        for task in secret_tasks:
            with pytest.raises(ParametersInvalid, match=r"is secret, so it cannot be queued"):
                await orchestrator.submit("s", task)
        first, second = await orchestrator.submit_all(("s", secret_tasks[0]) for _ in range(2))
        for contract_id in (first, second):
            answer = await orchestrator.wait(contract_id, 0)
            assert answer is not None
            assert "is secret, so it cannot be queued" in (answer["error"] or "")
        await orchestrator.submit("s", {"capability": "login", "parameters": {"user": "no secret"}})
    assert not contains(config.ledger, SECRET)
    assert not contains(config.ledger, "AKIAIOSFODNN7EXAMPLE")
    assert [each["status"] for each in exchanges(config.ledger)] == ["failed"] * 10 + ["pending"]


# Patterns

EXAMPLES = {
    "anthropic": "sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
    "aorch": "aorch_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "github": "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    "google": "AIzaSyA0123456789abcdefghijklmnopqrstuv",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "openai": "sk-proj-0123456789abcdefghijABCDEFGHIJ",
    "private-key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow-IBAAKCAQEA0Z3VS5JJcds\n-----END RSA PRIVATE KEY-----",
    "slack": "xoxb-123456789012-abcdefghijkl",
    "stripe": "sk_live_0123456789abcdefghij",
    "url-password": "admin:pa55word!",
}


def test_each_preset_has_an_example() -> None:
    assert EXAMPLES.keys() == PRESETS.keys()


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_preset_finds_its_keys_in_parameters_context_results_and_errors(tmp_path: Path, preset: str) -> None:
    key = EXAMPLES[preset]
    text = f"postgres://{key}@db/x" if preset == "url-password" else f"the key is {key} and more"
    config = config_in(tmp_path / "ledger", presets=[preset])
    for how in ("result", "failure", "exception"):
        agent, answer = await told(
            config, {"user": how, "other": text}, context={"note": text}, metadata={"mine": [text]}
        )
        assert agent.told[0]["other"] == text
        assert key not in json.dumps(answer)
    asked, *_ = exchanges(config.ledger)
    assert asked["payload"]["other"].startswith(text.partition(key)[0] + "[redacted hmac:")
    assert asked["payload"]["other"].endswith(text.partition(key)[2])
    assert asked["metadata"]["redacted"] == ["other", "context", "custom"]
    assert not contains(config.ledger, key.splitlines()[len(key.splitlines()) // 2])


async def test_an_own_expression_is_linear_and_an_invalid_one_is_refused(tmp_path: Path) -> None:
    config = config_in(tmp_path / "ledger", patterns=["(x+x+)+y", "ticket-[0-9]+"])
    await told(config, {"user": "ticket-4711", "other": "x" * 100_000})
    asked, *_ = exchanges(config.ledger)
    assert asked["payload"]["user"].startswith("[redacted hmac:")
    assert asked["payload"]["other"] == "x" * 100_000
    for pattern, reason in (("(", "missing )"), (r"(a)\1", "invalid escape"), ("a*", "matches an empty text")):
        with pytest.raises(ConfigInvalid, match=r"redact.patterns\[1\]") as refused:
            Redactor(RedactConfig(patterns=[pattern]))
        assert reason in str(refused.value)


async def test_results_are_redacted_where_only_the_agent_knows_the_secret(tmp_path: Path) -> None:
    config = config_in(tmp_path / "ledger", presets=["github"])
    key = EXAMPLES["github"]
    _, answer = await told(config, {"user": "result", "other": f"{key[:10]}", "password": key})
    assert key not in json.dumps(answer)
    assert not contains(config.ledger, key)


# The command line


CONFIGURED = """
[redact]
presets = ["aws"]
[agents.door]
command = ["python3", "door.py", "{code}"]
[agents.door.capabilities.open]
parameters.type = "object"
parameters.required = ["code"]
parameters.properties = { code = { type = "string", writeOnly = true }, name = { type = "string" } }
"""


DOOR = """
import json, sys
print("opening with", sys.argv[1], file=sys.stderr)
print(json.dumps({"used": sys.argv[1]}))
"""


@pytest.fixture
def door(home: Home) -> Home:
    """A machine with the agent of CONFIGURED."""
    home.write("aorch.toml", CONFIGURED)
    home.write("door.py", DOOR)
    return home


def test_a_program_gets_the_value_and_its_output_is_masked(door: Home) -> None:
    done = door.aorch("run", "open", f"code={SECRET}", "--session", "s")
    assert (done.code, done.out) == (0, "***\n"), done.err
    assert SECRET not in done.err
    assert not contains(door.ledger, SECRET)
    key = door.folder / "data" / "aorch" / "redaction.key"
    assert (stat.S_IMODE(key.stat().st_mode), len(key.read_bytes())) == (0o600, 32)
    door.write(
        "aorch.toml", f'{CONFIGURED}\n[agents.plain]\ncommand = ["echo", "{{code}}"]\ncapabilities.open = {{}}\n'
    )
    for options in ((), ("--agent", "plain")):  # it is secret whichever agent gets it
        shown = door.aorch("run", "open", f"code={SECRET}", "--dry-run", *options)
        assert (shown.code, SECRET in shown.out + shown.err) == (0, False)


def test_a_secret_task_is_refused_by_detach_rerun_and_resume_with_a_reason(door: Home) -> None:
    detached = door.aorch("run", "open", f"code={SECRET}", "--detach")
    assert detached.code == 2
    assert "'code' of the task for 'open' is secret, so it cannot be queued: the queue is the ledger" in detached.err
    door.aorch("run", "open", f"code={SECRET}", "--session", "s")
    ((contract_id,),) = door.rows(
        "SELECT contract_id FROM contracts WHERE status = 'completed' AND contract_type = 'REQUEST'"
    )
    again = door.aorch("rerun", contract_id)
    assert again.code == 2
    assert f"'code' of {contract_id} was secret, so its value is not in the ledger" in again.err
    assert not contains(door.ledger, SECRET)


def test_a_misspelt_secret_stays_out_of_the_ledger(door: Home) -> None:
    for detach in ((), ("--detach",)):
        done = door.aorch("run", "open", f"cod={SECRET}", "name=ann", *detach)
        assert done.code == 2, done.err
        assert not contains(door.ledger, SECRET)
    payloads = door.rows("SELECT payload FROM contracts WHERE contract_type = 'REQUEST'")
    assert ['"name":"ann"' in payload and '"cod":{"redacted":"hmac:' in payload for (payload,) in payloads] == [
        True
    ] * 2


def test_a_batch_runs_secret_tasks(door: Home) -> None:
    door.write(
        "b.jsonl",
        "".join(json.dumps({"capability": "open", "parameters": {"code": f"{SECRET}-{n}"}}) + "\n" for n in range(3)),
    )
    done = door.aorch("run", "--batch", "b.jsonl", "--ordered")
    assert [json.loads(line)["data"] for line in done.out.splitlines()] == [{"used": "***"}] * 3
    assert not contains(door.ledger, SECRET)


def test_a_key_that_others_can_read_is_refused_before_the_task_runs(door: Home) -> None:
    door.aorch("run", "open", f"code={SECRET}")
    key = door.folder / "data" / "aorch" / "redaction.key"
    key.chmod(0o644)
    done = door.aorch("run", "open", f"code={SECRET}")
    assert done.code == 2
    assert f"other users can read the key {key}" in done.err
    assert f"chmod 600 {key}" in done.err


def test_a_resumed_pipeline_does_not_run_a_step_with_a_secret_again(door: Home) -> None:
    steps = '[[pipelines.p.steps]]\nname = "{}"\ncapability = "{}"\nparameters = {}\n'
    door.write(
        "aorch.toml",
        CONFIGURED
        + '[agents.broken]\ncommand = ["false"]\ncapabilities.fail = {}\n'
        + steps.format("first", "open", f'{{ code = "{SECRET}" }}')
        + steps.format("second", "fail", "{}"),
    )
    assert door.aorch("run", "p").code == 10
    ((contract_id,),) = door.rows(
        "SELECT contract_id FROM contracts WHERE capability = 'p' AND contract_type = 'REQUEST'"
    )
    assert door.aorch("contracts", "resume", contract_id).code == 10
    calls = "SELECT count(*) FROM contracts WHERE capability = ? AND contract_type = 'REQUEST'"
    assert [door.rows(calls, name) for name in ("p", "open", "fail")] == [[(2,)], [(1,)], [(2,)]]
    assert not contains(door.ledger, SECRET)

"""`aorch compress` through a model or MemAgent: their output is checked or stored separately, and failures are reported."""

import pytest
from doubles import running
from homes import Home
from llm_double import KEY, LlmDouble, contracts_in
from memagent_double import SAMPLE, MemAgentDouble
from memory_homes import blocks, compressed, incident_4711, take_in, verified
from memory_sessions import review

SESSION = "incident-4711"


def llm_of(home: Home, double: LlmDouble, provider: str = "openai") -> None:
    """Configure the double as the model."""
    url = f"{double.url}/v1" if provider == "openai" else double.url
    table = f'[llm]\nprovider = "{provider}"\nurl = "{url}"\nmodel = "test-model-1"\nkey_env = "TEST_LLM_KEY"\n'
    home.write("aorch.toml", f"{table}timeout_s = 5\n")
    home.environment["TEST_LLM_KEY"] = KEY


# by a model


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_configured_model_makes_the_block(incident: Home, provider: str) -> None:
    with running(LlmDouble()) as double:
        llm_of(incident, double, provider)
        block = compressed(incident, SESSION)["memory_block"]
    assert block["compressor"] == {"name": "llm", "version": "1", "model": "test-model-1", "fallback_reason": ""}
    assert len(double.asked) == 1
    assert double.keys == [KEY]
    verified(incident)


def test_the_model_sees_only_the_new_contracts(home: Home) -> None:
    contracts = incident_4711()
    with running(LlmDouble()) as double:
        llm_of(home, double)
        take_in(home, contracts[:9])
        compressed(home, SESSION)
        take_in(home, contracts[9:])
        compressed(home, SESSION)
    assert [len(contracts_in(double.text(body))) for body in double.asked] == [9, len(contracts) - 9]


@pytest.mark.parametrize(("mode", "why"), [("unauthorised", "401"), ("truncated", "twice"), ("empty", "no claim of")])
def test_if_the_model_fails_the_local_compressor_makes_the_block_and_a_warning_says_so(
    incident: Home, mode: str, why: str
) -> None:
    with running(LlmDouble(mode)) as double:
        llm_of(incident, double)
        done = incident.aorch("compress", SESSION, "--via", "llm", "--json")
    assert done.code == 0
    assert f"warning: session {SESSION}: the local compressor made the block: " in done.err
    compressor = done.json["memory_block"]["compressor"]
    assert compressor["name"] == "local"
    assert why in compressor["fallback_reason"]
    assert compressor["fallback_reason"] in done.err
    assert KEY not in done.out + done.err
    assert f"fallback      {compressor['fallback_reason'][:20]}" in incident.aorch("memory", "show", SESSION).out
    verified(incident)


def test_via_llm_without_a_configured_model_exits_2_with_a_hint(incident: Home) -> None:
    done = incident.aorch("compress", SESSION, "--via", "llm")
    assert done.code == 2
    assert "no model is configured" in done.err
    assert "[llm]" in done.err


def test_a_missing_api_key_is_an_error_and_no_block_is_made(incident: Home) -> None:
    incident.write("aorch.toml", '[llm]\nmodel = "claude-haiku-4-5"\n')
    done = incident.aorch("compress", SESSION)
    assert done.code == 2
    assert "ANTHROPIC_API_KEY is empty" in done.err
    assert blocks(incident) == []


# by MemAgent


def test_memagent_gets_the_block_and_its_answer_is_stored_with_it(incident: Home) -> None:
    with running(MemAgentDouble()) as double:
        incident.environment["MEMAGENT_URL"] = double.url
        block = compressed(incident, SESSION)["memory_block"]
    assert block["compressor"]["name"] == "local"
    beside = block["beside"]
    assert beside["answer"]["summary"] == SAMPLE["summary"]
    assert beside["answer"]["events_processed"] == 11
    assert beside["sent"] == len(double.notes_posted) > 0
    assert SAMPLE["summary"] not in incident.aorch("memory", "show", SESSION, "--as", "prompt").out
    shown = incident.aorch("memory", "show", SESSION).out
    assert SAMPLE["summary"] in shown
    assert "11 events that aorch did not send" in shown
    assert not double.outside


def test_a_growing_session_sends_memagent_each_note_once(home: Home) -> None:
    contracts = incident_4711()
    with running(MemAgentDouble()) as double:
        home.environment["MEMAGENT_URL"] = double.url
        for part in (contracts[:8], contracts[8:]):
            take_in(home, part)
            compressed(home, SESSION, "--via", "memagent")
        posted = double.notes_posted
    assert len(set(posted)) == len(posted)
    assert len({beside["memagent_session_id"] for beside in (block["beside"] for block in blocks(home))}) == 1


@pytest.mark.parametrize("mode", ["llm_down", "absent"])
def test_if_memagent_fails_a_warning_says_so_and_the_block_is_kept(incident: Home, mode: str) -> None:
    with running(MemAgentDouble(mode)) as double:
        incident.environment["MEMAGENT_URL"] = double.url if mode == "llm_down" else "http://127.0.0.1:9"
        done = incident.aorch("compress", SESSION, "--via", "memagent", "--json")
    assert done.code == 0
    assert "the block was not sent to MemAgent: MemAgent at http" in done.err
    assert "\x1b" not in done.err + done.out
    assert done.json["memory_block"]["beside"]["error"]
    verified(incident)


def test_via_local_sends_nothing_to_any_service(incident: Home) -> None:
    with running(LlmDouble()) as llm, running(MemAgentDouble()) as memagent:
        llm_of(incident, llm)
        incident.environment["MEMAGENT_URL"] = memagent.url
        block = compressed(incident, SESSION, "--via", "local")["memory_block"]
        assert (block["compressor"]["name"], block["beside"]) == ("local", None)
        take_in(incident, review())
        auto = compressed(incident, review()[0]["session_id"])["memory_block"]
    assert auto["compressor"]["name"] == "llm"
    assert len(llm.asked) == 1
    assert memagent.asked == []

"""The client of a model: overloaded, unreachable and chatty servers, its configuration, its API key."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from doubles import running
from homes import Home
from llm_blocks import OPERATIONS, PROVIDERS, Configured, assert_stood_in, block_by, configured, reason
from llm_double import KEY, LlmDouble
from model_agents import python_without

from aorch.config import settings
from aorch.config.settings import LlmConfig
from aorch.errors import AorchError, ConfigInvalid
from aorch.memory.llm.llm_client import LlmClient

__all__ = ["configured"]


# bad servers


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_request_to_an_overloaded_server_is_retried(provider: str, configured: Configured) -> None:
    with running(LlmDouble("broken", "overloaded", "overloaded", "good")) as double:
        block = block_by(configured(double, provider), OPERATIONS)
    assert block.compressor.name == "llm"
    assert len(double.asked) == 4


@pytest.mark.parametrize("provider", ["openai", pytest.param("anthropic", marks=pytest.mark.torture)])
def test_retry_after_sets_the_wait(provider: str, configured: Configured) -> None:
    with running(LlmDouble("busy", "good")) as double:
        start = time.monotonic()
        block = block_by(configured(double, provider), OPERATIONS)
    assert time.monotonic() - start >= 1
    assert block.compressor.name == "llm"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("modes", "requests", "why"),
    [
        (["overloaded"], 4, "HTTP 429: "),
        (["patient"], 1, "asks to wait 3600 s"),
        (["unauthorised"], 1, "rejected the API key (HTTP 401)"),
        (["too_long"], 1, "maximum context length is 8192 tokens"),
        (["prose"], 2, "an answer without a JSON object, twice"),
        (["truncated"], 2, "twice"),
        (["empty"], 1, "passed the checks"),
    ],
)
def test_if_the_model_fails_the_local_block_has_the_reason(
    provider: str, modes: list[str], requests: int, why: str, configured: Configured
) -> None:
    with running(LlmDouble(*modes)) as double:
        block = block_by(configured(double, provider), OPERATIONS)
    assert_stood_in(block, OPERATIONS, why)
    assert len(double.asked) == requests
    assert KEY not in str(block.as_dict())
    assert "\x1b" not in reason(block)


def test_an_html_page_is_not_an_answer(configured: Configured) -> None:
    with running(LlmDouble("html")) as double:
        why = "sent an answer of the type text/html, not an event stream"
        assert_stood_in(block_by(configured(double), OPERATIONS), OPERATIONS, why)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_valid_second_answer_is_used(provider: str, configured: Configured) -> None:
    for bad in ("truncated", "prose"):
        with running(LlmDouble(bad, "good")) as double:
            assert block_by(configured(double, provider), OPERATIONS).compressor.name == "llm"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_json_between_other_words_is_found(provider: str, configured: Configured) -> None:
    with running(LlmDouble("fenced")) as double:
        assert block_by(configured(double, provider), OPERATIONS).compressor.name == "llm"


@pytest.mark.parametrize(
    ("provider", "mode", "left"),
    [
        ("anthropic", "no_temperature", "temperature"),
        ("anthropic", "no_schema", None),
        ("openai", "no_temperature", "temperature"),
        ("openai", "no_schema", "response_format"),
        ("openai", "no_max_tokens", "max_tokens"),
    ],
)
def test_an_unsupported_field_is_left_out_of_the_next_request(
    provider: str, mode: str, left: str | None, configured: Configured
) -> None:
    with running(LlmDouble(mode)) as double:
        assert block_by(configured(double, provider), OPERATIONS).compressor.name == "llm"
    assert len(double.asked) == 2
    assert left not in double.asked[-1]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_contracts_are_sent_only_to_the_configured_url(
    provider: str, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to the target of a redirect, and not through a proxy from the environment."""
    with running(LlmDouble("good")) as other, running(LlmDouble("moved")) as double:
        double.elsewhere = f"{other.url}{'/v1/messages' if provider == 'anthropic' else '/v1/chat/completions'}"
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, other.url)
        assert_stood_in(block_by(configured(double, provider), OPERATIONS), OPERATIONS, "HTTP 307")
    assert len(double.asked) == 1
    assert other.asked == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_silent_server_leads_to_the_local_block_within_the_timeouts(provider: str, configured: Configured) -> None:
    with running(LlmDouble("hanging")) as double:
        start = time.monotonic()
        block = block_by(configured(double, provider, timeout_s=0.2), OPERATIONS)
        assert time.monotonic() - start < 20
    assert_stood_in(block, OPERATIONS, "gave no answer in 2 attempts: silent for 0.2 s")


@pytest.mark.parametrize("provider", ["openai", pytest.param("anthropic", marks=pytest.mark.torture)])
def test_an_unreachable_server_leads_to_the_local_block(provider: str, configured: Configured) -> None:
    with running(LlmDouble()) as double:
        nobody = configured(double, provider)
    assert_stood_in(block_by(nobody, OPERATIONS), OPERATIONS, "gave no answer in 4 attempts")


# configuration and secrets


@contextmanager
def in_home(home: Home, monkeypatch: pytest.MonkeyPatch, toml: str) -> Iterator[None]:
    home.write("aorch.toml", toml)
    monkeypatch.chdir(home.folder)
    for name in ("ANTHROPIC_API_KEY", "AORCH_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    yield


def test_without_an_llm_table_no_model_is_configured(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_home(home, monkeypatch, ""):
        assert settings.load(home.ledger).llm is None


def test_an_empty_llm_table_means_claude_and_its_usual_key_variable(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_home(home, monkeypatch, "[llm]\n"):
        llm = settings.load(home.ledger).llm
        assert llm is not None
        assert (llm.provider, llm.key_env, llm.url) == (
            "anthropic", "ANTHROPIC_API_KEY", "https://api.anthropic.com"
        )  # fmt: skip
        with pytest.raises(ConfigInvalid, match="ANTHROPIC_API_KEY is empty"):
            LlmClient(llm)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[llm]\nprovider = "openai"\nmodel = "m"\n', "llm.url is missing"),
        ('[llm]\nprovider = "openai"\nurl = "http://localhost:1/v1"\n', "llm.model is missing"),
        ('[llm]\nprovider = "other"\n', "llm.provider"),
        ('[llm]\nurl = "localhost:80"\n', "llm.url is not a valid URL"),
        ('[llm]\nurl = "https://ann:secret@example.org"\n', "must not contain a user, a password or a query"),
        ("[llm]\nmax_input_tokens = 100\n", "llm.max_input_tokens is 100; it must be at least 4000"),
        ('[llm]\nkey = "sk-x"\n', "unknown key llm.key"),
    ],
)
def test_an_invalid_llm_table_is_rejected(toml: str, said: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_home(home, monkeypatch, toml), pytest.raises(ConfigInvalid) as refused:
        settings.load(home.ledger)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "mode", ["unauthorised", "too_long", "overloaded", "hanging", pytest.param("broken", marks=pytest.mark.torture)]
)
def test_the_api_key_is_in_no_error_and_no_log(
    provider: str, mode: str, configured: Configured, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(llm_config: LlmConfig) -> None:
        async with LlmClient(llm_config) as llm:
            await llm.ask("system", "text", {"required": ["aims"], "properties": {}, "type": "object"}, 100)

    with caplog.at_level(logging.DEBUG), running(LlmDouble(mode)) as double, pytest.raises(AorchError) as failed:
        asyncio.run(ask(configured(double, provider, timeout_s=0.2)))
    seen: BaseException | None = failed.value
    while seen is not None:
        assert KEY not in f"{seen!r} {vars(seen)}"
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    assert KEY not in getattr(failed.value, "hint", "")
    assert KEY not in caplog.text


def test_without_a_configured_key_no_key_is_sent(configured: Configured) -> None:
    os.environ.pop("NO_SUCH_KEY", None)
    with running(LlmDouble()) as double:
        block_by(configured(double, key_env=""), OPERATIONS)
    assert double.keys == [""]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_without_the_package_the_error_says_how_to_install_it(provider: str, home: Home) -> None:
    home.write("aorch.toml", f'[llm]\nprovider = "{provider}"\nmodel = "m"\nurl = "http://127.0.0.1:1"\n')
    home.environment["ANTHROPIC_API_KEY"] = KEY
    done = python_without(provider, home, "-m", "aorch", "compress", "--all", "--via", "llm")
    assert (done.returncode, f"error: the package `{provider}` is not installed" in done.stderr) == (2, True)
    assert f"hint: Run `aorch plugins install {provider}`, or `pip install 'aorch[{provider}]'`." in done.stderr

"""Signed requests: what aorch signs, an agent server accepts, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from homes import Home
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms
from model_agents import python_without

from aorch import AgentFailed, capability
from aorch.agents.agent_server import AgentServer
from aorch.agents.function import as_agent
from aorch.agents.http_endpoint import HttpAgent
from aorch.agents.signatures import COVERED, MAX_AGE, Message, SignConfig
from aorch.config import environment
from aorch.errors import UsageError

SECRET, OTHER = "a secret of the test", "another secret"
HMAC = SignConfig("SIGN_TEST_KEY", "aorch-1")
VERIFY = {"key_env": "SIGN_TEST_KEY", "key_id": "aorch-1", "algorithm": "hmac-sha256"}
TASK = {"task_id": "01K", "session_id": "s", "capability": "greet", "parameters": {"name": "Ann"}, "context": {}}
BODY = b'{"task_id":"01K","capability":"greet","parameters":{"name":"Ann"}}'


@capability("greet")
async def greet(name: str) -> str:
    """Greet someone."""
    return f"Hello {name}"


@pytest.fixture(autouse=True)
def keys() -> Iterator[None]:
    """The variables with the keys."""
    private = Ed25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    values = {
        "SIGN_TEST_KEY": SECRET,
        "SIGN_TEST_OTHER": OTHER,
        "SIGN_TEST_PRIVATE": private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode(),
        "SIGN_TEST_PUBLIC": private.public_key()
        .public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    }
    for name, value in values.items():
        environment.put(name, value)
    yield
    for name in values:
        environment.put(name, None)


@asynccontextmanager
async def serving(verify: dict[str, str]) -> AsyncIterator[str]:
    server = AgentServer(as_agent(greet), verify=verify)
    try:
        yield await server.start("127.0.0.1", 0)
    finally:
        await server.stop(0, asyncio.Event())


async def called(url: str, sign: SignConfig) -> dict[str, Any]:
    agent = HttpAgent("signed", "Signed", endpoint=url, sign=sign)
    assert agent.problem() is None
    try:
        return await agent.execute(TASK)
    finally:
        await agent.close()


class Key(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id: str) -> bytes:
        return SECRET.encode()


def signed(url: str, body: bytes, **options: Any) -> dict[str, str]:
    """The headers of a request that another program signs."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": '"k"'}
    signer = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Key())
    given = {"key_id": "aorch-1", "covered_component_ids": COVERED, "body": body, **options}
    signer.sign(Message("POST", url, headers), **given)
    return headers


async def posted(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/execute", data=body, headers=headers) as answer:
        return answer.status, answer.headers.get("WWW-Authenticate", "")


@pytest.mark.parametrize(
    ("sign", "verify"),
    [
        (HMAC, VERIFY),
        (
            SignConfig("SIGN_TEST_PRIVATE", "k", "ed25519"),
            {"key_env": "SIGN_TEST_PUBLIC", "key_id": "k", "algorithm": "ed25519"},
        ),
    ],
)
async def test_a_task_that_aorch_signs_is_accepted(sign: SignConfig, verify: dict[str, str]) -> None:
    async with serving(verify) as url:
        assert (await called(url, sign))["data"] == "Hello Ann"


@pytest.mark.parametrize("sign", [SignConfig("SIGN_TEST_OTHER", "aorch-1"), SignConfig("SIGN_TEST_KEY", "other")])
async def test_another_key_is_rejected(sign: SignConfig) -> None:
    async with serving(VERIFY) as url:
        with pytest.raises(AgentFailed, match="answered 401: the request has no valid signature"):
            await called(url, sign)


async def test_what_is_not_signed_old_or_changed_is_rejected() -> None:
    rejected = (401, "Signature")
    async with serving(VERIFY) as url:
        execute = f"{url}/execute"
        good = signed(execute, BODY)
        assert (await posted(url, BODY, good))[0] == 200
        assert await posted(url, BODY, {"Content-Type": "application/json"}) == rejected
        assert await posted(url, BODY.replace(b"Ann", b"Bob"), good) == rejected
        assert await posted(url, BODY, {**good, "Idempotency-Key": '"other"'}) == rejected
        assert await posted(url, BODY, {**good, "Signature": "aorch=:AAAA:"}) == rejected
        assert await posted(url, BODY, signed("http://elsewhere/execute", BODY)) == rejected
        old = datetime.now(UTC) - MAX_AGE - timedelta(minutes=1)
        assert await posted(url, BODY, signed(execute, BODY, created=old)) == rejected
        less = signed(execute, BODY, covered_component_ids=("@method", "@target-uri", "content-digest"))
        assert await posted(url, BODY, less) == rejected


@pytest.mark.parametrize(
    ("verify", "reason"),
    [
        ({"key_env": "SIGN_TEST_UNSET", "key_id": "k"}, "SIGN_TEST_UNSET, which is not set"),
        ({"key_env": "SIGN_TEST_KEY"}, "verify is invalid"),
        ({"key_env": "SIGN_TEST_KEY", "key_id": "k", "algorithm": "rot13"}, "verify is invalid"),
        (
            {"key_env": "SIGN_TEST_KEY", "key_id": "k", "algorithm": "ed25519"},
            "SIGN_TEST_KEY does not contain an ed25519",
        ),
        ({"key_env": "SIGN_TEST_PRIVATE", "key_id": "k", "algorithm": "ed25519"}, "ed25519 public key"),
    ],
)
def test_a_verifier_that_cannot_work_is_rejected_when_it_is_made(verify: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        AgentServer(as_agent(greet), verify=verify)


def test_the_table_of_an_agent_names_the_key(home: Home) -> None:
    home.write(
        "aorch.toml",
        '[agents.signed]\nurl = "http://127.0.0.1:9"\nsign = { key_env = "NO_SUCH_KEY", key_id = "k" }\n'
        "[agents.signed.capabilities.greet]\n",
    )
    shown = home.aorch("agents", "show", "signed", "--json").json
    assert "key_env of its signatures names NO_SUCH_KEY, which is not set" in shown["problem"]
    assert shown["env"] == ["NO_SUCH_KEY"]


def test_without_the_package_an_error_says_what_to_install(home: Home) -> None:
    home.write(
        "aorch.toml",
        '[agents.signed]\nurl = "http://127.0.0.1:9"\nsign = { key_env = "NO_SUCH_KEY", key_id = "k" }\n'
        "[agents.signed.capabilities.greet]\n",
    )
    done = python_without("http_message_signatures", home, "-m", "aorch", "run", "greet")
    assert done.returncode == 11
    assert "`http-message-signatures` is not installed; run `pip install 'aorch[sign]'`" in done.stderr

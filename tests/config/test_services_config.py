"""Which Trace, which MemAgent, which parent: what the environment says, and for which ledger it counts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from homes import Home

from aorch.config import settings
from aorch.errors import ConfigInvalid


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An empty home, in which nothing is configured."""
    for name in ("TRACE_URL", "MEMAGENT_URL", "AORCH_LEDGER", "AORCH_PARENT_ID", "AORCH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "aorch.toml").touch()
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_only_the_default_ledger_uses_the_default_address_of_trace(environment: pytest.MonkeyPatch) -> None:
    default = settings.load()
    assert (default.trace_url, default.trace_configured) == ("http://localhost:8787", False)
    assert settings.load(default.ledger).trace_url == "http://localhost:8787", "named, it is the same ledger"
    assert settings.load("other.db").trace_url == ""
    assert settings.load("elsewhere/aorch/ledger.db").trace_url == ""
    environment.setenv("TRACE_URL", "http://127.0.0.1:9/")
    assert (settings.load("other.db").trace_url, settings.load("other.db").trace_configured) == (
        "http://127.0.0.1:9",
        True,
    )
    environment.setenv("TRACE_URL", "off")
    assert (settings.load().trace_url, settings.load().trace_configured) == ("", False)


def test_memagent_s_address_is_validated_and_can_be_switched_off(environment: pytest.MonkeyPatch) -> None:
    assert (settings.load().memagent_url, settings.load().memagent_configured) == ("http://localhost:8799", False)
    environment.setenv("MEMAGENT_URL", "http://127.0.0.1:9/")
    assert (settings.load().memagent_url, settings.load().memagent_configured) == ("http://127.0.0.1:9", True)
    environment.setenv("MEMAGENT_URL", "off")
    assert (settings.load().memagent_url, settings.load().memagent_configured) == ("", False)
    environment.setenv("MEMAGENT_URL", "http://ann:secret@127.0.0.1:9")
    with pytest.raises(ConfigInvalid, match="MEMAGENT_URL is not a valid service URL") as raised:
        settings.load()
    assert "secret" not in f"{raised.value}{raised.value.hint}"


LISTENS = """
import fcntl, socket, struct, subprocess, sys
with socket.socket() as server:
    fcntl.ioctl(server, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: up
    server.bind(("127.0.0.1", 8799))
    server.listen()
    compressing = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    server.accept()[0].close()  # the look whether it listens
    caller, _ = server.accept()
    sys.stdout.buffer.write(caller.recv(4096))
    caller.close()
compressing.wait()
"""
"""Listens at MemAgent's default address, where the commands of other tests look as well, in a network of its own."""


def test_memagent_at_its_default_address_is_used_when_it_listens_there(incident: Home) -> None:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = ["unshare", *user, "--net"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs network namespaces")
    session = incident.rows("SELECT session_id FROM contracts LIMIT 1")[0][0]
    command = [*unshare, sys.executable, "-c", LISTENS, *incident.command("compress", session)]
    asked = subprocess.run(command, cwd=incident.folder, env=incident.environment, stdout=subprocess.PIPE, timeout=60)
    assert asked.stdout.startswith(b"GET /v1/health ")
    incident.environment["MEMAGENT_URL"] = "off"
    assert incident.aorch("compress", session, "--via", "memagent").code == 2


def test_a_parent_of_another_ledger_is_ignored_and_one_of_this_ledger_counts(home: Home) -> None:
    parent = home.aorch("run", "echo", "text=outer", "--json").json["contract_id"]
    home.environment["AORCH_PARENT_ID"] = parent
    inner = home.aorch("run", "echo", "text=inner", "--json").json["contract_id"]
    assert home.rows("SELECT parent_id FROM contracts WHERE contract_id = ?", inner) == [(parent,)]
    assert home.aorch("run", "echo", "text=inner", "--ledger", "other.db").code == 0


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("timeout_s", "timeout_s = nan"),
        ("timeout_s", "timeout_s = inf"),
        ("serve.grace_s", "[serve]\ngrace_s = nan"),
        ("serve.read_timeout_s", "[serve]\nread_timeout_s = inf"),
        ("queue.max_waiting", "[queue]\nmax_waiting = 9223372036854775808"),
        ("llm.timeout_s", "[llm]\ntimeout_s = nan"),
        ("pipelines.p.timeout_s", '[pipelines.p]\ntimeout_s = nan\n[[pipelines.p.steps]]\nname="a"\ncapability="b"'),
        ("pipelines.p.steps.a.timeout_s", '[[pipelines.p.steps]]\nname="a"\ncapability="b"\ntimeout_s = inf'),
    ],
)
def test_limits_in_aorch_toml_are_finite_numbers_of_at_most_64_bits(
    environment: pytest.MonkeyPatch, key: str, text: str
) -> None:
    Path("aorch.toml").write_text(text)
    with pytest.raises(ConfigInvalid, match=rf"{key}\b"):
        settings.load()


def test_a_byte_order_mark_in_aorch_toml_is_accepted(environment: pytest.MonkeyPatch) -> None:
    Path("aorch.toml").write_bytes(b"\xef\xbb\xbftimeout_s = 5\n")
    assert settings.load().timeout_s == 5

"""`aorch login`, `logout` and `whoami`, and to which server a stored token is sent."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fixed_answers import Fixed, answering
from homes import Home
from remote_homes import with_client
from serving import serving
from tokens import token

from aorch.client.versions import difference


@dataclass
class Machine:
    """A machine that uses a server which needs a token."""

    home: Home
    url: str
    token: str
    reader: str


@pytest.fixture(scope="module")
def served(module_home: Home) -> Iterator[Machine]:
    """A server with two tokens, and a machine without a login."""
    all_rights, read_only = token(module_home, "ci"), token(module_home, "reader", "--scope", "read")
    with serving(module_home) as server:
        yield Machine(module_home, server.url, all_rights, read_only)


@pytest.fixture
def machine(served: Machine) -> Iterator[Machine]:
    """A machine without a login, on which no variable chooses a server."""
    client = with_client(served.home, served.url)
    del client.environment["AORCH_URL"]
    client.write("aorch.toml", "")
    yield Machine(client, served.url, served.token, served.reader)
    for file in client.folder.glob("config/aorch/*"):
        file.unlink()


def test_a_token_from_a_pipe_is_checked_and_stored_for_its_owner_only(machine: Machine) -> None:
    done = machine.home.aorch("login", machine.url, "--profile", "prod", stdin=f"{machine.token}\n")
    assert (done.code, done.out) == (0, f"logged in to {machine.url} as ci (scopes: read, run)\n")
    file = machine.home.folder / "config/aorch/servers.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert machine.home.aorch("run", "echo", "text=hi", "--server", "prod").out == "Echo: hi\n"
    assert machine.home.aorch("--server", machine.url, "log", "--jq", ".caller").out == "ci\n"
    who = machine.home.aorch("whoami", "--server", "prod", "--json").json
    assert (who["name"], who["scopes"], who["token_required"]) == ("ci", ["read", "run"], True)


def test_a_wrong_token_is_not_stored(machine: Machine) -> None:
    done = machine.home.aorch("login", machine.url, stdin="not-a-token-of-this-server\n")
    assert done.code == 4
    assert "unknown, revoked or expired" in done.err
    assert machine.home.aorch("whoami", "--server", machine.url).code == 4


def test_without_a_token_an_error_names_the_next_step(machine: Machine) -> None:
    done = machine.home.aorch("log", "--server", machine.url)
    assert done.code == 4
    assert "aorch login URL" in done.err


def test_a_missing_scope_is_named(machine: Machine) -> None:
    machine.home.environment |= {"AORCH_URL": machine.url, "AORCH_TOKEN": machine.reader}
    done = machine.home.aorch("run", "echo", "text=hi", "--json")
    assert (done.code, json.loads(done.err)["code"]) == (4, "forbidden")
    assert "'run'" in done.err


def test_the_token_of_the_environment_goes_to_the_server_of_the_environment_only(machine: Machine) -> None:
    machine.home.environment |= {"AORCH_URL": "http://127.0.0.1:1", "AORCH_TOKEN": machine.token}
    assert machine.home.aorch("log", "--server", machine.url).code == 4
    machine.home.environment["AORCH_URL"] = machine.url
    assert machine.home.aorch("log", "--server", machine.url).code == 0


def test_a_project_s_file_gets_no_token_of_the_environment(machine: Machine) -> None:
    machine.home.write("aorch.toml", f'[remote]\nurl = "{machine.url}"\n')
    machine.home.environment["AORCH_TOKEN"] = machine.token
    assert machine.home.aorch("log").code == 4
    machine.home.aorch("login", machine.url, stdin=machine.token)
    assert machine.home.aorch("log").code == 0


def test_a_project_s_file_does_not_decide_how_a_token_travels(machine: Machine) -> None:
    machine.home.aorch("login", machine.url, "--profile", "prod", stdin=machine.token)
    with answering(lambda path, body: Fixed(200, b"{}", {})) as proxy:
        routes = f'proxy = "{proxy}"\nca_file = "evil.pem"\nallow_http = true\n'
        for url, arguments in (("", ("--server", "prod")), (machine.url, ()), ("prod", ())):
            machine.home.write("aorch.toml", f'[remote]\nurl = "{url}"\n{routes}')
            done = machine.home.aorch("whoami", "--json", *arguments)
            assert (done.code, done.json["name"]) == (0, "ci")
            assert "ca_file, proxy, allow_http in [remote]" in done.err
    machine.home.environment |= {"AORCH_URL": "http://aorch.example", "AORCH_TOKEN": machine.token}
    machine.home.write("aorch.toml", "[remote]\nallow_http = true\n")
    assert "not encrypted" in machine.home.aorch("log").err


@pytest.mark.parametrize("chosen", ["named", "trusted", "own", "without a token"])
def test_a_file_that_the_user_chose_decides_how_requests_travel(machine: Machine, chosen: str) -> None:
    asked: list[str] = []

    def answer(path: str, body: bytes) -> Fixed:
        asked.append(path)
        return Fixed(200, b"{}", {})

    with answering(answer) as proxy:
        text = f'[remote]\nproxy = "{proxy}"\n'
        file = machine.home.write("aorch.toml", text)
        if chosen != "without a token":
            machine.home.aorch("login", machine.url, "--profile", "prod", stdin=machine.token)
        if chosen == "trusted":
            machine.home.aorch("config", "trust")
        if chosen == "own":
            file.rename(machine.home.folder / "config/aorch/aorch.toml")
        named = f"--config {file}" if chosen == "named" else ""
        folder = "config/aorch" if chosen == "own" else "."
        done = machine.home.bash(f"cd {folder}; aorch {named} whoami --server {machine.url}")
    assert asked == [f"{machine.url}/v1/"]
    assert "not used" not in done.stderr


def test_logout_removes_the_token(machine: Machine) -> None:
    machine.home.aorch("login", machine.url, "--profile", "prod", stdin=machine.token)
    assert machine.home.aorch("logout", machine.url).out == f"logged out of {machine.url} (prod)\n"
    assert machine.home.aorch("logout", "prod").code == 12
    assert "no server is called 'prod'" in machine.home.aorch("log", "--server", "prod").err


def test_no_token_is_asked_for_that_would_be_sent_unencrypted_to_another_machine(machine: Machine) -> None:
    machine.home.environment |= {"AORCH_URL": "http://aorch.example", "AORCH_TOKEN": machine.token}
    done = machine.home.aorch("log")
    assert (done.code, "not encrypted" in done.err, machine.token in done.err) == (2, True, False)


def test_tokens_that_others_can_read_are_not_used(machine: Machine) -> None:
    machine.home.aorch("login", machine.url, stdin=machine.token)
    (machine.home.folder / "config/aorch/servers.json").chmod(0o644)
    done = machine.home.aorch("log", "--server", machine.url)
    assert (done.code, "chmod 600" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("log", "--server", "URL", "--ledger", "x.db"), "--server cannot be combined with --ledger"),
        (("log", "--server", ""), "--server: the URL is empty"),
        (("log", "--server", "nope"), "no server is called 'nope'"),
        (("log", "--server", "http://me:secret@host"), "invalid server URL"),
        (("ledger", "check", "--server", "URL"), "`aorch ledger check` needs the ledger itself"),
        (("--server", "URL", "agents", "remove", "x"), "it works with the agents in the aorch.toml of this machine"),
        (("whoami",), "commands use a ledger here, not a server"),
    ],
)
def test_what_cannot_work_is_a_usage_error_that_gives_the_reason(
    machine: Machine, arguments: tuple[str, ...], said: str
) -> None:
    done = machine.home.aorch(*(machine.url if each == "URL" else each for each in arguments))
    assert (done.code, said in done.err, "secret" in done.err) == (2, True, False), done.err


def test_options_come_before_variables_and_variables_before_the_file(machine: Machine) -> None:
    machine.home.environment |= {"AORCH_URL": machine.url, "AORCH_TOKEN": machine.token, "AORCH_LEDGER": "own.db"}
    machine.home.write("aorch.toml", '[remote]\nurl = "http://127.0.0.1:1"\n')
    machine.home.aorch("run", "echo", "text=served")
    assert machine.home.aorch("log", "-n", "1").out.endswith('{"message":"Echo: served"}\n')
    assert machine.home.aorch("log", "--ledger", "own.db").out == ""
    del machine.home.environment["AORCH_URL"]
    assert machine.home.aorch("log").out == ""
    del machine.home.environment["AORCH_LEDGER"]
    assert "http://127.0.0.1:1" in machine.home.aorch("log").err


KEYRING = """
import json
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")


def _tokens():
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def set_password(service, name, password):
    FILE.write_text(json.dumps(_tokens() | {name: password}))


def get_password(service, name):
    return _tokens().get(name)


def delete_password(service, name):
    FILE.write_text(json.dumps({each: token for each, token in _tokens().items() if each != name}))
"""


@pytest.fixture
def keyring(machine: Machine, tmp_path: Path) -> Callable[[], list[str]]:
    """A system keyring; returns its tokens."""
    (tmp_path / "keyring.py").write_text(KEYRING)
    machine.home.environment["PYTHONPATH"] = str(tmp_path)
    return lambda: list(json.loads((tmp_path / "keyring.json").read_text()).values())


def test_the_token_is_in_the_system_keyring_if_there_is_one(machine: Machine, keyring: Callable[[], list[str]]) -> None:
    machine.home.aorch("login", machine.url, "--profile", "prod", stdin=machine.token)
    assert machine.token not in (machine.home.folder / "config/aorch/servers.json").read_text()
    assert machine.home.aorch("whoami", "--server", "prod", "--json").json["name"] == "ci"
    machine.home.aorch("logout", "prod")
    assert keyring() == []


def test_two_profiles_of_one_server_have_two_tokens_in_the_keyring(
    machine: Machine, keyring: Callable[[], list[str]]
) -> None:
    machine.home.aorch("login", machine.url, "--profile", "admin", stdin=machine.token)
    machine.home.aorch("login", machine.url, "--profile", "ro", stdin=machine.reader)
    assert machine.home.aorch("whoami", "--server", "admin", "--json").json["name"] == "ci"
    assert machine.home.aorch("logout", "admin").code == 0
    assert machine.home.aorch("whoami", "--server", "ro", "--json").json["name"] == "reader"
    other_url = machine.url.replace("127.0.0.1", "localhost")
    machine.home.aorch("login", other_url, "--profile", "ro", stdin=machine.token)
    assert keyring() == [machine.token]


@pytest.mark.parametrize(
    ("server", "client", "warns"),
    [("0.1.0", "0.1.9", ""), ("1.2.0", "1.3.4", ""), ("1.2.0", "1.4.0", "server"), ("2.0.0", "1.9.0", "client")],
)
def test_versions_that_differ_by_more_than_one_minor_version_are_a_warning(
    server: str, client: str, warns: str
) -> None:
    text = difference(server, client)
    assert (text is not None, (text or "").endswith(f"upgrade the {warns}")) == (bool(warns), bool(warns))

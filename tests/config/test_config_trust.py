"""An aorch.toml is other people's code: whose is used, and what completion may run."""

import os
import stat
from pathlib import Path

import pytest
from homes import Home

from aorch.config import config_file, settings
from aorch.errors import ConfigUntrusted

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
WATCHED = (
    "import pathlib\n"
    "pathlib.Path({mark!r}).touch()\n"
    "from aorch.agents import Agent, AgentCapability\n"
    "class Watched(Agent):\n"
    "    def __init__(self):\n"
    "        super().__init__('watched', 'Watched')\n"
    "    def execute(self, task):\n"
    "        return {{'success': True}}\n"
    "    def get_capabilities(self):\n"
    "        return [AgentCapability('watch_it')]\n"
)


@pytest.fixture
def project(home: Home) -> Home:
    """A folder whose aorch.toml names a class that leaves the file `ran` when it is imported, and a program."""
    home.write("watched.py", WATCHED.format(mark=str(home.folder / "ran")))
    program = '[agents.printer]\ncommand = ["true"]\n[agents.printer.capabilities.print_it]\n'
    home.write("aorch.toml", f'[agents.watched]\nclass = "watched:Watched"\n{program}')
    (home.folder / "below").mkdir()
    return home


def ran(home: Home) -> bool:
    """Whether the class was imported since this was last asked."""
    mark = home.folder / "ran"
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


def below(home: Home) -> Home:
    return Home(home.folder / "below", home.environment)


def completed(home: Home, words: str) -> list[str]:
    environment = {"_AORCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = Home(home.folder, home.environment | environment).aorch()
    assert done.err == ""
    return done.out.split()


@as_root
def test_a_file_of_another_user_is_rejected_until_it_is_named_or_trusted(project: Home) -> None:
    os.chown(project.folder / "aorch.toml", NOBODY, NOBODY)
    caller = below(project)
    for command in (["run", "echo", "text=hi"], ["agents", "list"], ["status"]):
        done = caller.aorch(*command)
        assert done.code == 2
        assert f"{project.folder}/aorch.toml belongs to another user (nobody)" in done.err
        assert "aorch config trust" in done.err
        assert not ran(project)
    assert caller.aorch("contracts", "list").code == 0, "AORCH_LEDGER names a ledger, so no file is needed"
    assert completed(caller, "aorch run ec") == []
    assert not ran(project)
    assert caller.aorch("agents", "list", "--config", "../aorch.toml").out.count("watch_it") == 1
    assert caller.aorch("--config", "../aorch.toml", "run", "watch_it").code == 0
    assert ran(project)
    assert caller.aorch("agents", "list").code == 2, "--config is for one command"
    trusted = caller.aorch("config", "trust")
    assert (trusted.code, trusted.out) == (0, f"trusted: {project.folder}/aorch.toml\n")
    assert caller.aorch("run", "watch_it").code == 0


@as_root
def test_root_s_files_and_one_s_own_are_used_and_a_strange_link_is_not(
    project: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(project.folder / "config"))
    monkeypatch.chdir(project.folder / "below")
    assert config_file.find() == project.folder / "aorch.toml"
    (project.folder / "below/aorch.toml").symlink_to("../aorch.toml")
    assert config_file.find() == project.folder / "below/aorch.toml"
    os.chown(project.folder / "below/aorch.toml", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(ConfigUntrusted):
        config_file.find()
    config_file.trust(Path("aorch.toml"))
    assert config_file.find() == project.folder / "below/aorch.toml"
    os.chown(project.folder / "config/aorch/trusted", NOBODY, NOBODY)
    with pytest.raises(ConfigUntrusted):
        settings.load()


def test_trust_says_what_it_cannot_find_and_remembers_a_path_once(project: Home) -> None:
    assert project.aorch("config", "trust", "nowhere.toml").code == 12
    for _ in range(2):
        assert project.aorch("config", "trust", "aorch.toml").code == 0
    trusted = project.folder / "config/aorch/trusted"
    assert trusted.read_text() == f"{project.folder}/aorch.toml\n"
    assert stat.S_IMODE(trusted.stat().st_mode) == 0o600


def test_completion_knows_python_agents_from_the_last_time_they_loaded_and_never_runs_their_code(
    project: Home,
) -> None:
    assert completed(project, "aorch run pr") == ["print_it"]
    assert completed(project, "aorch run wa") == []
    assert not ran(project)
    assert project.aorch("agents", "list").code == 0
    assert ran(project)
    assert completed(project, "aorch run wa") == ["watch_it"]
    assert completed(project, "aorch agents show wa") == ["watched"]
    assert completed(below(project), "aorch run --config ../aorch.toml -a wa") == ["watched"]
    assert not ran(project)


def test_a_command_works_where_the_cache_for_completion_cannot_be_written(project: Home) -> None:
    project.environment["XDG_CACHE_HOME"] = str(project.folder / "aorch.toml")
    assert project.aorch("run", "watch_it").code == 0
    assert completed(project, "aorch run wa") == []


def test_completion_is_silent_about_a_broken_file(project: Home) -> None:
    project.write("aorch.toml", "[agents")
    del project.environment["AORCH_LEDGER"]
    for words in ("aorch run ec", "aorch run -a ag", "aorch run -s x", "aorch contracts show 01"):
        assert completed(project, words) == []


def test_an_agent_s_own_aorch_reads_the_file_that_its_caller_named(home: Home) -> None:
    home.write("empty.toml", "")
    home.write(
        "named.toml",
        '[agents.inner]\ncommand = ["aorch", "agents", "list"]\ncwd = "/"\n[agents.inner.capabilities.inner]\n',
    )
    home.environment["PATH"] = f"{Path(home.command()[0]).parent}:{home.environment['PATH']}"
    assert "inner" in home.aorch("run", "inner", "--config", "named.toml").out


def test_a_trusted_path_may_contain_a_carriage_return(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.folder / "config"))
    file = home.folder / "a\rb" / "aorch.toml"
    file.parent.mkdir()
    file.touch()
    assert not config_file.is_chosen(file)
    config_file.trust(file)
    assert config_file.is_chosen(file)

"""`agents add` and `agents remove` keep the file's mode and place, and changes at the same time lose nothing."""

import subprocess
import sys
import tomllib

from homes import Home


def test_a_symbolic_link_stays_one_and_a_new_file_has_the_mode_that_umask_gives(home: Home) -> None:
    file = home.folder / "aorch.toml"
    (home.folder / "dotfiles").mkdir()
    file.rename(home.folder / "dotfiles/real.toml")
    (home.folder / "dotfiles/real.toml").chmod(0o640)
    file.symlink_to("dotfiles/real.toml")
    assert home.aorch("agents", "add", "a", "--capability", "c", "--", "true").code == 0
    assert file.is_symlink()
    assert "agents.a" in (home.folder / "dotfiles/real.toml").read_text()
    assert (home.folder / "dotfiles/real.toml").stat().st_mode & 0o777 == 0o640
    file.unlink()
    shell = f"umask 027; exec {sys.executable} -m aorch agents add a --capability c -- true"
    subprocess.run(["/bin/sh", "-c", shell], cwd=home.folder, env=home.environment, check=True, timeout=60)
    assert file.stat().st_mode & 0o777 == 0o640


def test_many_that_add_and_remove_at_once_lose_nothing(home: Home) -> None:
    home.aorch("agents", "add", "old", "--capability", "c", "--", "true")
    adding = [home.start("agents", "add", f"a{n}", "--capability", f"c{n}", "--", "true") for n in range(4)]
    removing = home.start("agents", "remove", "old")
    assert [process.communicate(timeout=60) and process.returncode for process in (*adding, removing)] == [0] * 5
    assert set(tomllib.loads((home.folder / "aorch.toml").read_text())["agents"]) == {"a0", "a1", "a2", "a3"}
    assert not list(home.folder.glob(".aorch-*"))

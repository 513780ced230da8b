"""The servers to which the user has logged in: `servers.json` in the user's configuration directory, with mode 0600.

If the package `keyring` is installed and the system has a keyring, tokens are there and not in the file.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from aorch.config import config_file
from aorch.config.file_replacement import locked, replace
from aorch.errors import AorchError, ConfigInvalid

FILE_NAME = "servers.json"
_KEYRING = "aorch"
"""The name of the service in the system keyring."""


class Login(msgspec.Struct, frozen=True):
    """A server with the token for it. `token` is empty if the server needs none, or if the token is `in_keyring`."""

    name: str
    url: str
    token: str = ""
    in_keyring: bool = False
    ca_file: str = ""
    proxy: str = ""
    allow_http: bool = False


def logins() -> list[Login]:
    """All of them, in the order in which they were stored. Raises ConfigInvalid if the file is unusable or not private."""
    path = _path()
    if path is None:
        return []
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigInvalid(f"other users can read the tokens in {path}", f"Run: chmod 600 {path}")
            return msgspec.json.decode(file.read(), type=list[Login])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigInvalid(
            f"cannot read {path}: {config_file.reason_of(error)}", "Remove the file, then run `aorch login URL` again."
        ) from error


def find(name: str) -> Login | None:
    """The login with that name or URL, the newest first."""
    return next((each for each in reversed(logins()) if name in (each.name, each.url)), None)


def token_of(login: Login) -> str:
    """The token of a login. Raises AorchError if the keyring does not give it."""
    if not login.in_keyring:
        return login.token
    try:
        token = _keyring().get_password(_KEYRING, _entry(login))
    except Exception as error:  # any error of any backend
        raise AorchError(f"the keyring did not give the token for {login.url}: {error}", "Unlock it.") from error
    if token is None:
        raise AorchError(
            f"the keyring has no token for {login.url}", f"Run `aorch login {login.url} --profile {login.name}` again."
        )
    return str(token)


def store(login: Login) -> str:
    """Store a login instead of an earlier one with the same name. Returns where the token is: a file or the keyring."""
    path = _path()
    if path is None:
        raise ConfigInvalid("there is no configuration directory: HOME is not set", "Set HOME or XDG_CONFIG_HOME.")
    where = str(path)
    with _changing(path) as found:
        if login.token and _in_keyring(login):
            login, where = msgspec.structs.replace(login, token="", in_keyring=True), "the system keyring"
        replaced = [each for each in found if each.name == login.name]
        found[:] = [each for each in found if each.name != login.name] + [login]
    for each in replaced:
        if each.in_keyring and not (login.in_keyring and _entry(each) == _entry(login)):
            _remove_from_keyring(each)
    return where


def remove(name: str) -> Login | None:
    """Remove the login with that name or URL, and its token, and return it; None if there is none."""
    path = _path()
    if path is None or not path.exists():
        return None
    with _changing(path) as found:
        removed = next((each for each in reversed(found) if name in (each.name, each.url)), None)
        if removed is not None:
            found.remove(removed)
            if removed.in_keyring:
                _remove_from_keyring(removed)
    return removed


@contextmanager
def _changing(path: Path) -> Iterator[list[Login]]:
    """The logins, to change in place: the file gets them afterwards. No other process changes them meanwhile."""
    with locked(path.parent):
        before = logins()
        found = list(before)
        yield found
        if found != before:
            text = json.dumps(msgspec.to_builtins(found), indent=2, ensure_ascii=False)
            replace(path, f"{text}\n".encode(), is_private=True)


def _in_keyring(login: Login) -> bool:
    """Store the token in the system keyring, if there is one. Returns whether it is there."""
    if find_spec("keyring") is None:
        return False
    try:
        keyring = _keyring()
        keyring.set_password(_KEYRING, _entry(login), login.token)
        return bool(keyring.get_password(_KEYRING, _entry(login)) == login.token)
    except Exception:  # noqa: BLE001  a machine without a keyring: any error of any backend
        return False


def _remove_from_keyring(login: Login) -> None:
    try:
        keyring = _keyring()
        if keyring.get_password(_KEYRING, _entry(login)) is not None:
            keyring.delete_password(_KEYRING, _entry(login))
    except Exception as error:  # any error of any backend
        raise AorchError(f"the keyring did not remove the token for {login.url}: {error}", "Unlock it.") from error


def _entry(login: Login) -> str:
    """The name of the token in the keyring: two profiles of one server have two tokens."""
    return f"{login.name} {login.url}"


def _keyring() -> Any:
    return import_module("keyring")  # optional


def _path() -> Path | None:
    folder = config_file.user_folder("config")
    return folder / FILE_NAME if folder else None

"""Adds tables to a TOML file and removes them, keeping comments, order, line endings, file mode and symbolic links.

Each change holds a lock on the file's directory from reading to writing, and is written only if the new text is valid TOML that
differs from the old by exactly that table.
"""

import codecs
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from aorch.config import config_file, file_replacement
from aorch.config.shape import syntax_error
from aorch.errors import ConfigInvalid, Conflict, NotFound


def add_table(file: Path, section: str, name: str, table: dict[str, Any]) -> None:
    """Add `[<section>.<name>]` to `file`, which is created if it does not exist.

    A value of `table` that is an object of objects is written as subtables; objects inside those are written inline. Raises
    Conflict if the table exists, and ConfigInvalid if a value has no form in TOML or the file cannot be edited.
    """
    written = _as_toml(section, name, table)

    def added(text: str, before: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        tables = before.get(section, {})
        if name in tables:
            raise Conflict(f"[{section}.{name}] already exists in {file}")
        expected = {**before, section: {**tables, **tomllib.loads(written)[section]}}
        return f"{text.rstrip(NEWLINES)}\n\n{written}".lstrip("\n"), expected

    _change(file, added, section, f"Add it by hand:\n{written}")


def remove_table(file: Path, section: str, name: str) -> None:
    """Remove `[<section>.<name>]` and its subtables. Raises NotFound, and ConfigInvalid like `add_table`."""

    def removed(text: str, before: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        tables = dict(before.get(section, {}))
        if tables.pop(name, None) is None:
            raise NotFound(f"there is no [{section}.{name}] in {file}")
        with suppress(
            TOMLKitError, KeyError, ValueError
        ):  # tomlkit cannot edit this form; the check of the result reports it
            document = tomlkit.parse(text)
            del document[section][name]
            text = tomlkit.dumps(document)
        return text, {**before, section: tables}

    _change(file, removed, section, f"Remove {name!r} from [{section}] by hand.")


def _as_toml(section: str, name: str, table: dict[str, Any]) -> str:
    """The table as text. Raises ConfigInvalid for a value that TOML does not have (null)."""
    try:
        written = tomlkit.item({key: value for key, value in table.items() if not _holds_tables(value)})
        for key, tables in table.items():
            if _holds_tables(tables):
                written[key] = tomlkit.table(is_super_table=True)
                for inner, content in tables.items():
                    written[key][inner] = {each: _inline(value) for each, value in content.items()}
        document = tomlkit.document()
        document[section] = tomlkit.table(is_super_table=True)
        document[section][name] = written
        return tomlkit.dumps(document)
    except (TOMLKitError, ValueError) as error:
        raise ConfigInvalid(f"[{section}.{name}] cannot be written as TOML: {error}") from error


def _holds_tables(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(each, dict) for each in value.values())


def _inline(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inline = tomlkit.inline_table()
    inline.update(value)
    return inline


NEWLINES = "\r\n"
Change = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]
"""Takes the text of the file and its content; returns the new text and the content that it must have."""


def _change(file: Path, change: Change, section: str, by_hand: str) -> None:
    """Apply `change`. Raises ConfigInvalid with `by_hand` as its hint, and writes nothing, if the result would be wrong."""
    target = file.resolve()  # a symbolic link stays one
    with file_replacement.locked(target.parent):
        data = _read(target)
        text = config_file.read(target) if data else ""
        before = _parsed(target, text)
        is_crlf = "\n" in text and text.count("\n") == text.count("\r\n")
        changed, expected = change(text.replace("\r\n", "\n") if is_crlf else text, before)
        try:
            same = {section: {}, **tomllib.loads(changed)} == {section: {}, **expected}
        except tomllib.TOMLDecodeError:
            same = False
        if not same:
            raise ConfigInvalid(
                f"{file} is written in a form that aorch cannot edit (an inline table, for example)", by_hand
            )
        if is_crlf:
            changed = changed.replace("\n", "\r\n")
        file_replacement.replace(
            target, (codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b"") + changed.encode()
        )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ConfigInvalid(f"cannot read {file}: {error.strerror}") from error


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # changed since the configuration was loaded
        raise syntax_error(file, error) from error

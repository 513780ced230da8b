"""Which `aorch.toml` is in use, whether it may be used, and its text.

`--config FILE` (AORCH_CONFIG) is always used. Otherwise it is the nearest `aorch.toml` from the working directory upward, then
the one in the user's configuration directory. A file found that way is rejected if it belongs to another user, because its
agents would run as the caller. Files of root, and files trusted by `aorch config trust`, are accepted.
"""

import os
from pathlib import Path

from aorch.config import environment
from aorch.errors import AorchError, ConfigInvalid, ConfigUntrusted, NotFound, UsageError

FILE_NAME = "aorch.toml"
_TRUSTED = "trusted"
"""The file in the user's configuration directory that lists trusted paths, one per line."""
_BOM = "\ufeff"


def find() -> Path | None:
    """The file in use here, or None. Raises ConfigUntrusted if it belongs to another user."""
    if (named := environment.get(environment.CONFIG)) is not None:
        return named_file(named, environment.CONFIG)
    found = search()
    if found is not None and (owner := _foreign_owner(found)) is not None and not _is_trusted(found):
        raise ConfigUntrusted(
            f"{found} belongs to another user ({_user_name(owner)})",
            "Its agents would run with your permissions. Trust it with `aorch config trust`, or name a file with --config FILE.",
        )
    return found


def text_in_use() -> tuple[Path | None, str]:
    """The file in use here and its text, which is empty if there is no file. Raises ConfigUntrusted and ConfigInvalid."""
    path = find()
    return path, read(path) if path else ""


def in_use() -> Path:
    """Like `find`, but raises NotFound if there is no file."""
    found = find()
    if found is None:
        raise NotFound(f"no {FILE_NAME} in this or a parent directory", "Create one with `aorch init`.")
    return found


def search() -> Path | None:
    """The nearest `aorch.toml` upward, otherwise the user's own; its owner is not checked.

    Unreadable directories are skipped.
    """
    here = working_folder()
    for folder in (here, *here.parents):
        if os.path.isfile(folder / FILE_NAME):  # noqa: PTH113  Path.is_file raises for a directory that cannot be searched
            return folder / FILE_NAME
    own = user_file()
    return own if own is not None and os.path.isfile(own) else None  # noqa: PTH113  likewise


def named_file(name: str, source: str = "--config") -> Path:
    """The file that `source` names, an option or a variable, as an absolute path. Raises UsageError or NotFound."""
    if not name:
        raise UsageError(f"{source}: the file name is empty", f"Set {source} to a file, or omit it.")
    path = absolute(name, source)
    try:
        path.stat()
    except FileNotFoundError:
        raise NotFound(f"{source}: file not found: {path}", "Check the path.") from None
    except (OSError, ValueError) as error:
        raise ConfigInvalid(
            f"{source}: cannot read {path}: {reason_of(error)}", "Fix that, or choose another file."
        ) from error
    return path


def trust(file: Path | None) -> Path:
    """Remember `file`, or the file in use here, as trusted, and return its path. Raises NotFound and AorchError."""
    found = search() if file is None else absolute(file, "FILE")
    if found is None or not os.path.isfile(found):  # noqa: PTH113  likewise
        raise NotFound(
            f"file not found: {found}" if found else f"no {FILE_NAME} in this or a parent directory",
            "Name the file: `aorch config trust FILE`.",
        )
    known = _known_as(found)
    if b"\n" in known:
        raise UsageError(f"a path with a line break cannot be stored: {str(found)!r}", "Use --config FILE instead.")
    folder = user_folder("config")
    if folder is None:
        raise ConfigInvalid("there is no configuration directory: HOME is not set", "Set HOME or XDG_CONFIG_HOME.")
    if known not in _trusted():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = (
                os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            )  # with this mode, no other user can add a path
            with os.fdopen(os.open(folder / _TRUSTED, flags, 0o600), "ab") as trusted:
                trusted.write(known + b"\n")
        except OSError as error:
            raise AorchError(f"cannot write {folder / _TRUSTED}: {reason_of(error)}") from error
    return found


def read(path: Path) -> str:
    """The text of `path`, without a byte order mark. Raises ConfigInvalid."""
    try:
        return path.read_bytes().decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path} is not UTF-8 text (byte {error.start})", "Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigInvalid(f"cannot read {path}: {reason_of(error)}", "Fix that, or pass --config FILE.") from error


def working_folder() -> Path:
    """The working directory. Raises ConfigInvalid if it was removed or may not be read."""
    try:
        return Path.cwd()
    except OSError as error:
        said = "was removed" if isinstance(error, FileNotFoundError) else f"cannot be read: {reason_of(error)}"
        raise ConfigInvalid(f"the working directory {said}", "Change to another directory and try again.") from error


def absolute(name: str | Path, what: str, base: Path | None = None) -> Path:
    """`name` as an absolute path, below `base` (default: the working directory) if it is relative, with `~` expanded.

    Raises UsageError, which begins with `what` (an option or a key).
    """
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:  # raised by pathlib for an unknown user, or without HOME
        raise UsageError(f"{what}: there is no home directory for {Path(name).parts[0]!r}") from error
    return path if path.is_absolute() else (base or working_folder()) / path


def file_path(name: str, what: str) -> Path:
    """The absolute path of the file that `what` (an argument or an option) names. Raises UsageError, also for an empty name and
    for `-`, which is no file.
    """
    if not name:
        raise UsageError(f"{what}: the file name is empty", "Name a file.")
    reject_stream(name, what)
    return absolute(name, what)


def reject_stream(name: str, what: str) -> None:
    """Raise UsageError, which begins with `what` (an argument, an option or a key), if `name` is `-`."""
    if name == "-":
        raise UsageError(f"{what}: '-' is a stream, not a file", "Name a file (./- if that is its name).")


def user_folder(kind: str) -> Path | None:
    """The user's `config` or `data` directory of aorch, which may not exist; None without a home directory."""
    import platformdirs  # noqa: PLC0415  only if no option or variable names the path

    try:
        folder: Path = getattr(platformdirs, f"user_{kind}_path")("aorch")
    except RuntimeError:  # a user without an entry in passwd, and no HOME
        return None
    return folder if folder.is_absolute() else None


def cache_folder() -> Path | None:
    """The directory of aorch's cache files, which may not exist; None without a home directory. It follows the XDG rules on
    every system, because importing platformdirs would cost each command 8 ms.
    """
    folder = Path(environment.get(environment.CACHE_HOME) or os.path.expanduser("~/.cache"))  # noqa: PTH111  it never raises
    return folder / "aorch" if folder.is_absolute() else None


def user_file() -> Path | None:
    """The path of the user's own `aorch.toml`, which may not exist; None without a home directory."""
    folder = user_folder("config")
    return folder / FILE_NAME if folder else None


def reason_of(error: Exception) -> str:
    """A short reason why a file could not be used."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _foreign_owner(path: Path) -> int | None:
    """The owner of `path` (of a symbolic link: of the link itself), if it is neither the caller nor root."""
    own = (os.geteuid(), 0)
    try:
        owners = (path.lstat().st_uid, path.stat().st_uid)
    except OSError as error:
        raise ConfigInvalid(f"cannot read {path}: {reason_of(error)}", "Fix that, or pass --config FILE.") from error
    return next((owner for owner in owners if owner not in own), None)


def is_chosen(path: Path) -> bool:
    """Whether the user chose the file that is in use: named it, trusted it or keeps it as the own one. A project may have
    brought another one along.
    """
    return environment.get(environment.CONFIG) is not None or path == user_file() or _is_trusted(path)


def _is_trusted(path: Path) -> bool:
    return _known_as(path) in _trusted()


def _known_as(path: Path) -> bytes:
    """The path to store as trusted. Its directory is resolved, because modules are imported from there."""
    return os.fsencode(path.parent.resolve() / path.name)


def _trusted() -> list[bytes]:
    """The trusted paths. A list that belongs to another user is ignored, because HOME may be that user's."""
    folder = user_folder("config")
    if folder is None:
        return []
    try:
        if _foreign_owner(folder / _TRUSTED) is not None:
            return []
        return (folder / _TRUSTED).read_bytes().split(b"\n")  # a path may contain other line separators
    except (OSError, ConfigInvalid):
        return []


def _user_name(owner: int) -> str:
    import pwd  # noqa: PLC0415  only for a rejected file

    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"uid {owner}"

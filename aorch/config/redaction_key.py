"""The key with which redacted values are hashed (HMAC-SHA-256), in a file for its owner only.

The same secret has the same hash in every contract, so that contracts with it can be found; without the key, nobody can try
values until one fits.
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from aorch.config import config_file
from aorch.config.config_file import reason_of
from aorch.errors import ConfigInvalid

FILE_NAME, LENGTH = "redaction.key", 32


def default_file() -> Path:
    """The file of the key if `redact.key_file` is not set. Raises ConfigInvalid without a home directory."""
    folder = config_file.user_folder("data")
    if folder is None:
        raise ConfigInvalid(
            "there is no directory for the key of redacted values: HOME is not set",
            "Set redact.key_file in aorch.toml.",
        )
    return folder / FILE_NAME


def read_key(file: Path) -> bytes:
    """The key in `file`, which is created (0600) if it does not exist. Several processes may do this at once.

    Raises ConfigInvalid if other users can read it, and if it cannot be read or created.
    """
    try:
        if not file.exists():
            _create(file)
        with file.open("rb") as opened:
            if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise ConfigInvalid(f"other users can read the key {file}", f"Run `chmod 600 {file}`.")
            key = opened.read()
    except OSError as error:
        raise ConfigInvalid(
            f"cannot use the key of redacted values {file}: {reason_of(error)}",
            "Name another file with redact.key_file.",
        ) from error
    if len(key) < LENGTH:
        raise ConfigInvalid(
            f"the key {file} has {len(key)} bytes instead of {LENGTH}", "Remove the file: aorch creates it."
        )
    return key


def _create(file: Path) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
            opened.write(secrets.token_bytes(LENGTH))
            opened.flush()
            os.fsync(opened.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster: its key is used
            os.link(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)

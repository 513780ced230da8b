"""The capabilities that a remote agent has reported, kept in the user's cache directory, so that listing agents and
routing need no request.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from aorch import jsonio
from aorch.agents.base import AgentCapability
from aorch.config import cache_file, config_file
from aorch.errors import InvalidJSON


class _Kept(msgspec.Struct):
    """The content of a file. Two addresses with the same checksum only overwrite each other's file."""

    address: str
    capabilities: list[AgentCapability]


def remember(address: str, capabilities: Iterable[AgentCapability]) -> None:
    """Keep the capabilities of the agent at `address`. Without a cache directory, the next process reads them again."""
    if (path := _path(address)) is None:
        return
    kept = {"address": address, "capabilities": [each.as_dict() for each in capabilities]}
    try:
        cache_file.keep(path, jsonio.encode_bytes(kept))
    except (OSError, InvalidJSON):  # read-only home directory, full disk
        return


def known(address: str) -> list[AgentCapability]:
    """The capabilities that were kept for `address`; empty if there are none."""
    try:
        path = _path(address)
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept) if path else None
    except (OSError, msgspec.DecodeError):  # missing, or not written by this version
        return []
    return kept.capabilities if kept is not None and kept.address == address else []


def _path(address: str) -> Path | None:
    folder = config_file.cache_folder()
    return folder / f"capabilities-{zlib.crc32(address.encode()):08x}.json" if folder else None

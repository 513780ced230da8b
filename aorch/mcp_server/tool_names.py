"""The names of capabilities as tools: most hosts accept only `[A-Za-z0-9_-]{1,64}`."""

import re
import zlib
from collections.abc import Iterable

LONGEST = 64
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_LENGTH = 9


def by_tool(capabilities: Iterable[str]) -> dict[str, str]:
    """Each capability by its tool name: `files.read` is `files_read`. A name that is too long, or that another capability has
    already, ends in a checksum of the capability, so that it does not depend on the order.
    """
    names = list(dict.fromkeys(capabilities))
    plain = {name: _FOREIGN.sub("_", name) or "_" for name in names}
    found = {name: name for name in names if plain[name] == name and len(name) <= LONGEST}
    for name in names:
        if found.get(name) == name:
            continue
        is_alone = sum(other == plain[name] for other in plain.values()) == 1
        tool = plain[name] if is_alone and len(plain[name]) <= LONGEST else _with_digest(name, plain[name], 0)
        attempt = 0
        while tool in found:
            attempt += 1
            tool = _with_digest(name, plain[name], attempt)
        found[tool] = name
    return found


def _with_digest(name: str, plain: str, attempt: int) -> str:
    digest = zlib.crc32(name.encode("utf-8", "backslashreplace"), attempt)
    return f"{plain[: LONGEST - _DIGEST_LENGTH]}_{digest:08x}"

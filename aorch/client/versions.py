"""Whether the versions of a client and a server work together."""

from aorch.version import VERSION


def difference(server: str, client: str = VERSION) -> str | None:
    """Why two versions (`1.4.2`) may not work together; None if they do: the first numbers are equal, and the second differ by
    at most one.
    """
    theirs, own = _numbers(server), _numbers(client)
    if theirs is None or own is None or (theirs[0] == own[0] and abs(theirs[1] - own[1]) <= 1):
        return None
    older = "server" if theirs < own else "client"
    return f"the server has aorch {server} and this is aorch {client}: some answers may be misread; upgrade the {older}"


def _numbers(version: str) -> tuple[int, int] | None:
    parts = version.split(".")
    if len(parts) < 2 or not all(each.isdecimal() for each in parts[:2]):
        return None
    return int(parts[0]), int(parts[1])

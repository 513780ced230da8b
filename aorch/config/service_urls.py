"""The addresses of services: which can be one, and none that holds a secret, since they are shown."""

import re
from urllib.parse import urlsplit

from aorch.errors import ConfigInvalid
from aorch.net.addresses import fault_of

OFF = "off"
"""Instead of a service's address: it is not spoken with."""
_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/@:?#\[\]]+)(:\d{1,5})?(/[^\s@?#]*)?", re.ASCII)
"""No user, no password: it is shown."""


def service_url(where: str, url: str) -> str:
    """`url` without a slash at its end; empty for `off`. Raises ConfigInvalid without repeating it: it may hold a password."""
    if url == OFF:
        return ""
    if fault_of(url) or not _URL.fullmatch(url):
        raise ConfigInvalid(
            f"{where} is not the address of a service",
            f"Write http://HOST:PORT without a user or a password, or {OFF}.",
        )
    return url.rstrip("/")


def check_url(where: str, url: str) -> None:
    """Raise ConfigInvalid unless `url` can be the address of a model or a proxy, without a secret in it."""
    if fault := fault_of(url):
        raise ConfigInvalid(f"{where} is not an address: {fault}", "Write http://… or https://….")
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigInvalid(
            f"{where} may hold neither a name, a password nor a query", "Name the key's variable in `key_env`."
        )

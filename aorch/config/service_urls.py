"""Validation of the URLs of services. They cannot contain a secret, because they are shown."""

import re
from urllib.parse import urlsplit

from aorch.errors import ConfigInvalid
from aorch.net.addresses import fault_of

OFF = "off"
"""Instead of a URL: the service is not used."""
_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/@:?#\[\]]+)(:\d{1,5})?(/[^\s@?#]*)?", re.ASCII)
"""Without user and password."""


def service_url(where: str, url: str) -> str:
    """`url` without a trailing slash; empty for `off`.

    Raises ConfigInvalid, which does not repeat the URL: it may contain a password.
    """
    if url == OFF:
        return ""
    if fault_of(url) or not _URL.fullmatch(url):
        raise ConfigInvalid(
            f"{where} is not a valid service URL",
            f"Write http://HOST:PORT without user and password, or {OFF}.",
        )
    return url.rstrip("/")


def check_url(where: str, url: str) -> None:
    """Raise ConfigInvalid unless `url` can be the URL of a model or a proxy, without a secret in it."""
    if fault := fault_of(url):
        raise ConfigInvalid(f"{where} is not a valid URL: {fault}", "Write http://… or https://….")
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigInvalid(
            f"{where} must not contain a user, a password or a query", "Name the variable of the key in `key_env`."
        )

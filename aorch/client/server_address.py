"""Which server a client speaks to, with which token, and whether the token may be sent there."""

from pathlib import Path

import msgspec

from aorch.errors import UsageError
from aorch.net.addresses import LONGEST, fault_of, holds_credentials, is_loopback


class ServerAddress(msgspec.Struct, frozen=True):
    """A server and how to reach it. `url` is without a slash at its end.

    `token` is empty if there is none. `ca_file` has the certificates to trust instead of the system's. `proxy` is the URL of an
    HTTP proxy. `allow_http`: a token may be sent over plain http to another machine.
    """

    url: str
    token: str = ""
    ca_file: Path | None = None
    proxy: str = ""
    allow_http: bool = False

    def __repr__(self) -> str:
        """Without the token, because tracebacks and logs may contain it."""
        return f"ServerAddress({self.url!r})"

    def check(self) -> None:
        """Raise UsageError if the token would be sent unencrypted to another machine."""
        if self.token and self.url.startswith("http://") and not (self.allow_http or is_loopback(self.url)):
            raise UsageError(
                f"the token is not sent to {self.url}: the connection is not encrypted",
                "Use https://, or pass --allow-http to `aorch login` if the network is trusted.",
            )


def server_url(where: str, url: str) -> str:
    """The URL of a server in the form in which tokens are stored: lower case, without a default port, `/v1` and a slash.

    Raises UsageError, which begins with `where` and does not repeat the URL, because it may contain a password.
    """
    fault = fault_of(url)
    if fault is None and (holds_credentials(url) or "?" in url or "#" in url):
        fault = "it contains a user, a password, a query or a fragment"
    if fault is not None:
        raise UsageError(f"{where}: invalid server URL: {fault}", "Write http://HOST:PORT or https://HOST.")
    scheme, _, rest = url[:LONGEST].rstrip("/").partition("://")
    host, slash, path = rest.partition("/")
    default = {"http": ":80", "https": ":443"}[scheme.lower()]
    return f"{scheme.lower()}://{host.lower().removesuffix(default)}{slash}{path}".removesuffix("/v1")

"""Checks of HTTP addresses that need no network."""

import ipaddress
import re
from urllib.parse import urlsplit

LONGEST = 2048
"""Maximum length of an address."""

_PRINTABLE = re.compile(r"[^\x00-\x20\x7f\\]+")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE | re.ASCII)
_NUMBERS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE | re.ASCII)


def fault_of(url: str) -> str | None:
    """Why no HTTP request to `url` can ever work; None if one might.

    The reason does not repeat the URL, which may contain a password.
    """
    if not url.lower().startswith(("http://", "https://")):
        return "it does not start with http:// or https://"
    if len(url) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    if not _PRINTABLE.fullmatch(url):
        return "it contains a space, a backslash or a control character"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "its host or port is invalid"
    if not host:
        return "it names no host"
    if port == 0:
        return "its port is 0"
    return _fault_of_ip(host) if "[" in parts.netloc or _NUMBERS.fullmatch(host) else _fault_of_name(host)


def holds_credentials(url: str) -> bool:
    """Whether a valid `url` has a user name or a password."""
    return "@" in urlsplit(url).netloc


def host_of(url: str) -> str:
    """Scheme, host and port of a valid `url` as written, followed by a slash. It is equal for all URLs of a receiver."""
    url += "/"
    return url[: url.index("/", len("https://")) + 1]


def is_loopback(url: str) -> bool:
    """Whether a valid `url` names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _fault_of_name(host: str) -> str | None:
    try:
        name = (host if host.isascii() else host.encode("idna").decode()).removesuffix(".")
    except UnicodeError:
        return "its host is not a valid name"
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        return "its host is not a valid name"
    if name.lower().endswith(".invalid"):
        return "names under .invalid never exist (RFC 6761)"
    return None


def _fault_of_ip(host: str) -> str | None:
    """The IP address as `getaddrinfo` reads it: 127.1 is 127.0.0.1."""
    import socket  # noqa: PLC0415  start-up time, and few addresses are numbers

    try:
        if ":" in host:
            address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv6Address(host.partition("%")[0])
        else:
            address = ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return "its host is not an IP address"
    if address.is_multicast or str(address) == "255.255.255.255":
        return "its host is not the address of one machine"
    return None

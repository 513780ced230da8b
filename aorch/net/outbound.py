"""Which addresses aorch connects to. They are checked when a connection is opened, after the name was resolved, so that a
name that resolves to another address each time (DNS rebinding) is checked too.

The rules are those of the OWASP cheat sheet on Server-Side Request Forgery
(https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html).
"""

import errno
import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from aorch.net.addresses import is_loopback

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
"""Addresses of the metadata services of clouds (Alibaba, Azure, Oracle, AWS, Google); 169.254.169.254 is link-local."""
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")
"""Private addresses of an older standard (RFC 3879), which `ipaddress` counts as global."""
_COMPATIBLE = ipaddress.IPv6Network("::/96")


class AddressRefused(OSError):
    """A connection that the policy does not allow was not opened."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EACCES, reason)

    def __str__(self) -> str:
        return str(self.strerror)


def refusal_in(error: OSError) -> str | None:
    """The reason if a client failed with `error` because its policy allowed none of the addresses of a host."""
    return error.strerror if error.errno == errno.EACCES else None


class AddressPolicy(NamedTuple):
    """The addresses to which connections may be opened.

    Link-local addresses, those of cloud metadata, multicast, reserved and unspecified addresses are never allowed. `anywhere`
    allows all others; without it only public ones, those in `networks`, and with `loopback` those of this machine.
    """

    anywhere: bool = True
    loopback: bool = True
    networks: tuple[Network, ...] = ()

    def check(self, host: str) -> None:
        """Raise AddressRefused if `host`, an IP address, is not allowed."""
        address = _embedded(ipaddress.ip_address(host.partition("%")[0]))
        if (kind := _never(address)) is not None:
            raise AddressRefused(f"{host} is {kind}, to which aorch never connects")
        if self.anywhere or any(address in network for network in self.networks):
            return
        if address.is_loopback:
            if not self.loopback:
                raise AddressRefused(f"{host} is this machine, and the service listens on other addresses too")
        elif not address.is_global or address in _SITE_LOCAL:
            raise AddressRefused(f"{host} is a private address; list its network in `outbound.networks` of aorch.toml")


OWNER = AddressPolicy()
"""For addresses that the owner has configured."""


def of_callers(networks: Iterable[str], listens_on: str) -> AddressPolicy:
    """The policy for addresses that callers give: public ones, those in `networks` (CIDR), and those of this machine if the
    service listens only on it (`listens_on`: the name or address of its socket).
    """
    host = f"[{listens_on}]" if ":" in listens_on else listens_on
    return AddressPolicy(
        anywhere=False,
        loopback=is_loopback(f"http://{host}/"),
        networks=tuple(ipaddress.ip_network(network) for network in networks),
    )


def _never(address: Address) -> str | None:
    if address in _METADATA:
        return "an address of cloud metadata"
    if address.is_loopback:
        return None
    for kind, applies in (
        ("a link-local address", address.is_link_local),
        ("a multicast address", address.is_multicast),
        ("an unspecified address", address.is_unspecified or address in _THIS_NETWORK),
        ("a reserved address", address.is_reserved),
    ):
        if applies:
            return kind
    return None


def _embedded(address: Address) -> Address:
    """The IPv4 address in an IPv6 address that represents it: mapped, 6to4, Teredo, NAT64 or compatible."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour  # type: ignore[return-value]  # one of them is not None
    if address.teredo:
        return address.teredo[1]
    if address in _TRANSLATED or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address

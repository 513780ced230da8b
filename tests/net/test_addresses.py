"""Addresses: which of them could ever work, and what requests are sent with."""

import re
from pathlib import Path

import pytest

import aorch
from aorch.net.addresses import fault_of, host_of, is_loopback


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:8787", "https://example.org/a?b=c", "HTTP://EXAMPLE.ORG", "http://[::1]:80/", "http://a."),
        *("http://127.1/", "http://0x7f.1/", "http://xn--mnchen-3ya.de/", "http://münchen.de/ü", "http://my_host/"),
    ],
)
def test_an_address_that_may_work_has_no_fault(url: str) -> None:
    assert fault_of(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://a/", "does not start with http"),
        ("//a/", "does not start with http"),
        ("http://", "no host"),
        ("http://:80/", "no host"),
        ("http://a:0/", "port is 0"),
        ("http://a:65536/", "invalid"),
        ("http://a:x/", "invalid"),
        ("http://[::1/", "invalid"),
        ("http://a\tb/", "control character"),
        ("http://a\\@b/", "backslash"),
        ("http://1.2.3.4.5/", "not an IP address"),
        ("http://255.255.255.255/", "one machine"),
        ("http://[ff02::1]/", "one machine"),
        (f"http://{'a' * 64}.org/", "not a valid name"),
        ("http://%41/", "not a valid name"),
        (f"http://a/{'b' * 2048}", "longer than"),
    ],
)
def test_an_address_that_can_never_work_is_told_why(url: str, reason: str) -> None:
    assert reason in (fault_of(url) or "")


def test_the_host_of_an_address_is_its_receiver() -> None:
    assert {host_of(url) for url in ("http://a:1", "http://a:1/", "http://a:1/x/y?z")} == {"http://a:1/"}
    assert host_of("http://a:2/") != host_of("http://a:1/")


def test_this_machine_is_recognised() -> None:
    assert all(is_loopback(url) for url in ("http://localhost:1/", "http://127.0.0.2/", "https://[::1]/"))
    assert not any(is_loopback(url) for url in ("http://example.org/", "http://10.0.0.1/"))


def test_three_modules_make_every_http_client() -> None:
    """So that what it forbids (netrc, redirects, the environment's proxies) is forbidden for all of them."""
    package = Path(aorch.__file__).parent
    making = re.compile(r"\bClientSession\(|\bhttpx\.|\burlopen\(|\bHTTPConnection\(|^import requests", re.MULTILINE)
    makers = [path.name for path in package.rglob("*.py") if making.search(path.read_text(encoding="utf-8"))]
    assert sorted(makers) == ["connection.py", "http_client.py", "sdk_client.py"]

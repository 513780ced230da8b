"""The addresses to which aorch connects: what is refused, in which spelling, by each of its clients."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from aorch.net.http_client import HttpClient
from aorch.net.outbound import OWNER, AddressPolicy, AddressRefused, of_callers, refusal_in
from aorch.net.sdk_client import sdk_client

NEVER = [
    *("169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%1", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1"),
    *("255.255.255.255", "240.0.0.1", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"),
    *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::a9fe:a9fe"),
]
PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd00::1",
    "fec0::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
]
THIS_MACHINE = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
PUBLIC = ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"]

NOT_CANONICAL = "(the client itself rejects this spelling)"

CALLERS = of_callers([], "0.0.0.0")
LOCAL_CALLERS = of_callers([], "127.0.0.1")


def allowed(policy: AddressPolicy, address: str) -> bool:
    try:
        policy.check(address)
    except AddressRefused:
        return False
    return True


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_called_not_even_those_of_the_owner(address: str) -> None:
    assert not allowed(OWNER, address)
    assert not allowed(of_callers(["0.0.0.0/0", "::/0"], "localhost"), address)


def test_callers_reach_public_addresses_and_listed_networks() -> None:
    assert {address for address in (*PRIVATE, *THIS_MACHINE, *PUBLIC) if allowed(CALLERS, address)} == set(PUBLIC)
    listed = of_callers(["10.0.0.0/8", "fd00::/8"], "0.0.0.0")
    assert [allowed(listed, address) for address in ("10.0.0.1", "::ffff:10.0.0.1", "fd00::1", "192.168.1.1")] == [
        *(True, True, True, False)
    ]
    assert all(allowed(OWNER, address) for address in (*PRIVATE, *THIS_MACHINE, *PUBLIC))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_callers_reach_this_machine_while_the_service_listens_only_on_it(host: str) -> None:
    assert all(allowed(of_callers([], host), address) for address in THIS_MACHINE)
    assert not any(allowed(of_callers([], "192.168.1.1"), address) for address in THIS_MACHINE)


@given(st.ip_addresses())
def test_whatever_owners_may_not_call_callers_may_not_call(address: Any) -> None:
    if allowed(LOCAL_CALLERS, str(address)):
        assert allowed(OWNER, str(address))


Send = Callable[[str], Awaitable[tuple[int, str]]]


@asynccontextmanager
async def by_aiohttp(policy: AddressPolicy, proxy: str = "") -> AsyncIterator[Send]:
    client = HttpClient(5, addresses=policy, proxy=proxy)

    async def send(url: str) -> tuple[int, str]:
        try:
            async with client.request("GET", url) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientConnectorError as error:
            return 0, refusal_in(error) or f"not a refusal: {error}"
        except aiohttp.InvalidURL as error:
            return 0, f"{error} {NOT_CANONICAL}"

    try:
        yield send
    finally:
        await client.close()


@asynccontextmanager
async def by_httpx(policy: AddressPolicy) -> AsyncIterator[Send]:
    async with sdk_client(httpx, 5, addresses=policy) as client:

        async def send(url: str) -> tuple[int, str]:
            try:
                answer = await client.get(url)
            except httpx.ConnectError as error:
                return 0, str(error)
            except httpx.InvalidURL as error:
                return 0, f"{error} {NOT_CANONICAL}"
            return answer.status_code, answer.text

        yield send


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """A server on this machine; `/away` redirects to the cloud's metadata."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/away":
            return web.Response(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
        return web.Response(text=request.headers["Host"])

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"{site.port}"
    finally:
        await runner.cleanup()


clients = pytest.mark.parametrize("client", [by_aiohttp, by_httpx])


@clients
@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376"),
        *("169.254.43518", "0.0.0.0", "[::]", "[fd00:ec2::254]"),
    ],
)
async def test_every_spelling_of_a_forbidden_address_is_refused(client: Any, host: str) -> None:
    async with client(OWNER) as send:
        status, reason = await send(f"http://{host}/latest/meta-data/")
    assert status == 0
    assert "to which aorch never connects" in reason or NOT_CANONICAL in reason


@clients
async def test_a_name_is_judged_by_the_address_that_it_has_now(client: Any) -> None:
    async with server() as port:
        async with client(CALLERS) as send:
            status, reason = await send(f"http://localhost:{port}/")
            assert (status, "this machine" in reason) == (0, True)
        async with client(LOCAL_CALLERS) as send:
            assert await send(f"http://localhost:{port}/") == (200, f"localhost:{port}")


@clients
async def test_no_redirect_is_followed(client: Any) -> None:
    async with server() as port, client(OWNER) as send:
        assert (await send(f"http://127.0.0.1:{port}/away"))[0] == 307


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_requests_that_bypass_the_proxy_are_judged_too(host: str) -> None:
    async with server() as port:
        async with by_aiohttp(CALLERS, proxy="http://127.0.0.1:9") as send:
            status, reason = await send(f"http://{host}:{port}/")
            assert (status, "this machine" in reason) == (0, True)
        async with by_aiohttp(LOCAL_CALLERS, proxy="http://127.0.0.1:9") as send:
            assert (await send(f"http://{host}:{port}/"))[0] == 200

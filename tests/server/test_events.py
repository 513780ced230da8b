"""GET /v1/events: contracts as they are written, as server-sent events."""

import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import psutil
import shared
from api import Event, ask, event, listening, problem
from homes import Home
from ledger_state import written
from ledgers import opened
from rows import pairs, put
from serving import Server, request_unread, serving
from waiting import wait_for

from aorch import jsonio
from aorch.server.pagination import PAGE_BYTES

home, server = shared.home, shared.server


def take(events: Iterator[Event], count: int) -> list[Event]:
    """The next `count` events."""
    return list(islice(events, count))


def positions(home: Home, session: str) -> list[int]:
    """The positions of that session's contracts in the ledger."""
    return [
        number for (number,) in home.rows("SELECT position FROM contracts WHERE session_id = ? ORDER BY 1", session)
    ]


def test_a_contract_is_streamed_as_json_when_it_is_written(home: Home, server: Server) -> None:
    with listening(server, session_id="live") as events:
        ask(server, session="live")
        told = take(events, 2)
        ask(server, session="live", parameters={"text": "two\nlines \u2028 and a half"})
        told += take(events, 2)
    assert [each.type for each in told] == ["request", "response"] * 2
    assert [each.id for each in told] == positions(home, "live")
    listed = server.get("/v1/contracts?session_id=live").json()["contracts"]
    assert [each.contract["contract_id"] for each in told] == [each["contract_id"] for each in listed]
    assert [each.contract for each in told if each.type == "response"] == listed[1::2]
    assert told[2].contract["payload"] == {"text": "two\nlines \u2028 and a half"}


def test_a_stream_covers_all_sessions_or_one(home: Home, server: Server) -> None:
    with listening(server) as everything, listening(server, session_id="one") as one:
        for session in ("other", "one", "another", "one"):
            ask(server, session=session)
        told = [each for each in take(everything, 8) if each.contract["session_id"] != "noise"]
        assert [each.contract["session_id"] for each in told[::2]] == ["other", "one", "another", "one"]
        assert [each.id for each in take(one, 4)] == positions(home, "one")


def test_a_stream_continues_after_the_last_event_id(home: Home, server: Server) -> None:
    for _ in range(3):
        ask(server, session="resumed")
    there = positions(home, "resumed")
    for headers, query in (({"Last-Event-ID": f"{there[1]}"}, {}), ({}, {"last_event_id": there[1]})):
        with listening(server, headers, session_id="resumed", **query) as events:
            assert [each.id for each in take(events, 4)] == there[2:6]
            ask(server, session="resumed")
            there = positions(home, "resumed")
            assert [each.id for each in take(events, len(there) - 6)] == there[6:]
            there = there[:6]


def test_the_header_takes_precedence_because_a_browser_repeats_the_first_url(home: Home, server: Server) -> None:
    for _ in range(2):
        ask(server, session="browser")
    there = positions(home, "browser")
    with listening(server, {"Last-Event-ID": f"{there[2]}"}, last_event_id=0, session_id="browser") as events:
        assert next(events).id == there[3]


def test_an_event_id_in_the_future_means_from_now_on(server: Server) -> None:
    with listening(server, last_event_id=10**17, session_id="ahead") as events:
        ask(server, session="ahead")
        assert next(events).contract["session_id"] == "ahead"


def test_an_invalid_event_id_is_rejected(server: Server) -> None:
    for headers, query in (({"Last-Event-ID": "yesterday"}, ""), ({}, "?last_event_id=-1")):
        response = server.get(f"/v1/events{query}", headers=headers)
        assert "last_event_id" in problem(response, 422, "parameters_invalid")["detail"]


def test_contracts_of_other_processes_are_streamed_too(home: Home, server: Server) -> None:
    with listening(server, session_id="terminal") as events:
        assert home.aorch("run", "echo", "text=hi", "--session", "terminal").code == 0
        assert [each.type for each in take(events, 2)] == ["request", "response"]
        assert home.aorch("run", "echo", "text=ho", "--session", "terminal").code == 0
        assert [each.id for each in take(events, 2)] == positions(home, "terminal")[2:]


def test_more_events_than_the_ring_holds_are_streamed_without_a_gap(home: Home, server: Server) -> None:
    """Too much at once for any stream: 10 MB in one commit, and 3,000 contracts in the next."""
    with listening(server, session_id="burst") as events:
        put(home.ledger, *pairs(10, "burst", payload=f'{{"text":"{"x" * 1_000_000}"}}'))
        put(home.ledger, *pairs(1_500, "burst"))
        assert [each.id for each in take(events, 3_020)] == positions(home, "burst")


def test_a_stream_from_the_beginning_contains_all_contracts(home: Home, server: Server) -> None:
    put(home.ledger, *pairs(1_000, "history"))
    with listening(server, last_event_id=0, session_id="history") as events:
        assert [each.id for each in take(events, 2_000)] == positions(home, "history")


def test_a_stream_of_earlier_contracts_ends_at_8_mib_with_the_position_to_continue(home: Home, server: Server) -> None:
    put(home.ledger, *pairs(11, "replayed", payload=f'{{"text":"{"x" * 1_000_000}"}}'))
    seen, streams, last = [], 0, 0
    while streams < 2:
        with listening(server, {"Last-Event-ID": f"{last}"}, session_id="replayed") as events:
            of_stream = list(events) if streams == 0 else take(events, 22 - len(seen))
        if streams == 0:
            *of_stream, end = of_stream
            assert (end.type, end.contract) == ("next", {"next": f"{end.id}"})
            assert sum(len(jsonio.encode(each.contract)) for each in of_stream) <= PAGE_BYTES
            last = end.id
        seen += [each.id for each in of_stream]
        streams += 1
    assert seen == positions(home, "replayed")


def test_a_client_that_does_not_read_delays_no_other_and_loses_no_event(home: Home, server: Server) -> None:
    memory = psutil.Process(server.process.pid).memory_info
    text, count = "x" * 50_000, 200
    with (
        closing(request_unread(server, "/v1/events?session_id=deaf")) as reader,
        listening(server, session_id="deaf") as events,
    ):
        first = reader.recv(4096)
        assert first.startswith(b"HTTP/1.1 200 ")
        while b":\n\n" not in first:
            first += reader.recv(4096)
        ask(server, session="deaf", parameters={"text": text})
        before = memory().rss
        for _ in range(count - 1):
            assert ask(server, session="deaf", parameters={"text": text}).json()["success"] is True
        there = positions(home, "deaf")
        assert [each.id for each in take(events, 2 * count)] == there
        assert memory().rss - before < 40 * 2**20, "20 MB were written, of which the ring holds 4"
        assert [each.id for each in take(chunked(reader), 2 * count)] == there


def test_the_stream_of_a_client_that_leaves_ends(home: Home, server: Server) -> None:
    streams = [request_unread(server, "/v1/events") for _ in range(20)]
    ports = {stream.getsockname()[1] for stream in streams}

    def connected() -> set[int]:
        connections = psutil.Process(server.process.pid).net_connections()
        return ports & {each.raddr.port for each in connections if each.raddr}

    for stream in streams:
        assert stream.recv(4096)
    assert connected() == ports
    for stream in streams:
        stream.close()
    wait_for(lambda: not connected())
    assert ask(server, session="left").json()["success"] is True


def test_a_stream_ends_once_its_token_is_revoked(own_home: Home) -> None:

    def bearer(name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {own_home.aorch('tokens', 'create', name, '--json').json['token']}"}

    kept, leaked = bearer("kept"), bearer("leaked")
    with serving(own_home) as server, listening(server, kept) as everything, listening(server, leaked) as events:
        ask(server, headers=kept)
        assert [each.type for each in take(events, 2)] == ["request", "response"]
        assert own_home.aorch("tokens", "revoke", "leaked").code == 0
        wait_for(lambda: server.get("/v1/status", headers=leaked).status_code == 401)
        ask(server, headers=kept)
        assert list(events) == []
        assert len(take(everything, 4)) == 4


def test_streams_end_when_the_server_stops_whether_they_read_or_not(own_home: Home) -> None:
    with (
        serving(own_home, "--grace", "99") as server,
        closing(request_unread(server, "/v1/events?last_event_id=0")) as reader,
    ):
        assert reader.recv(16)
        with listening(server, last_event_id=0) as events:
            put(own_home.ledger, *pairs(20, payload=f'{{"text":"{"x" * 1_000_000}"}}'))
            assert next(events).id == 1
            server.process.terminate()
            assert list(events)
            assert server.stop() == 0


def test_following_the_ledger_writes_nothing(own_home: Home) -> None:
    with (
        serving(own_home) as server,  # of its own: the totals of other tests' exchanges are stored every few seconds
        opened(own_home.ledger) as connection,
        listening(server, session_id="quiet"),
        listening(server),
    ):

        def state() -> object:
            """What a commit changes, also one that leaves no row."""
            return (
                written(own_home.ledger) if own_home.database else connection.execute("PRAGMA data_version").fetchone()
            )

        before = state()
        assert own_home.aorch("status").code == 0, "which takes a few looks' time and writes nothing either"
        assert state() == before


def chunked(connection: socket.socket) -> Iterator[Event]:
    """The events on that connection, without HTTP's chunks."""
    waiting = b""
    with connection.makefile("rb") as stream:
        while size := int(stream.readline(), 16):
            *whole, waiting = (waiting + stream.read(size)).split(b"\n\n")
            stream.readline()
            yield from (event(block) for block in whole if block != b":")

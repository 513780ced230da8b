"""Lists over HTTP: no page is larger than 8 MiB, and each shows exchanges correctly."""

import psutil
import shared
from api import ask
from homes import Home
from rows import pairs, put
from serving import Server, serving

from aorch import jsonio
from aorch.ledger.reader import Filter, Reader
from aorch.server.pagination import PAGE_BYTES, page_of

home, server = shared.home, shared.server


def test_a_page_ends_at_8_mib_and_the_next_one_continues(own_home: Home) -> None:
    put(own_home.ledger, *pairs(30, payload=jsonio.encode({"text": "x" * 1_000_000})))
    with serving(own_home) as server:
        resident = psutil.Process(server.process.pid).memory_info().rss
        for order in ("asc", "desc"):
            seen, cursor, pages = [], "", 0
            while cursor is not None:
                query = {"order": order} | ({"cursor": cursor} if cursor else {})
                response = server.get("/v1/contracts", params=query)
                assert len(response.content) <= PAGE_BYTES + 200
                page = response.json()
                assert page["total"] == 60
                seen += [contract["contract_id"] for contract in page["contracts"]]
                assert (page["next"] is None) == ("Link" not in response.headers)
                cursor, pages = page["next"], pages + 1
            stored = [
                found for (found,) in own_home.rows(f"SELECT contract_id FROM contracts ORDER BY position {order}")
            ]
            assert seen == stored
            assert pages >= 4
        assert psutil.Process(server.process.pid).memory_info().rss - resident < 150_000_000


def test_an_item_that_is_larger_than_a_page_gets_its_own_page() -> None:
    large = {"text": "x" * PAGE_BYTES}
    found = [("1", {}), ("2", large), ("3", {}), ("4", {})]
    assert page_of(found, 10) == ([b"{}"], "1")
    items, following = page_of(found[1:], 10)
    assert (len(items), following) == (1, "2")
    assert page_of(found[2:], 10) == ([b"{}", b"{}"], None)
    assert page_of(found[2:], 10, more=True)[1] == "4"
    assert page_of(found[2:], 1) == ([b"{}"], "3")
    assert page_of([], 10) == ([], None)


def test_all_texts_of_a_contract_count_for_the_size_of_a_page(home: Home) -> None:
    put(home.ledger, *pairs(3, session_id="long", metadata=jsonio.encode({"context": "x" * 1000}), payload="{}"))
    with Reader(home.ledger) as reader:
        found, more = reader.shown(Filter(session_id="long"), limit=10, characters=2000, newest_first=False)
        assert (len(found), more) == (3, True)


def test_contracts_are_found_by_from_agent_and_to_agent(server: Server) -> None:
    ask(server, session="sides", from_agent="ann")
    ask(server, "parrot", session="sides")

    def sides(**query: str) -> list[tuple[str, str]]:
        page = server.get("/v1/contracts", params={"session_id": "sides", **query}).json()
        assert page["session_id"] == "sides"
        assert page["total"] == len(page["contracts"])
        return [(each["from_agent"], each["to_agent"]) for each in page["contracts"]]

    assert sides(from_agent="ann") == [("ann", "agent_example_001")]
    assert sides(to_agent="ann") == [("agent_example_001", "ann")]
    assert sides(to_agent="parrot") == [("orchestrator", "parrot")]
    assert sides(from_agent="parrot", to_agent="orchestrator") == [("parrot", "orchestrator")]
    assert sides(from_agent="nobody") == []
    assert server.get("/v1/contracts").json()["session_id"] is None


def test_only_a_completed_request_shows_the_result_of_its_response(server: Server) -> None:
    done = ask(server, session="shown").json()
    failed = ask(server, "fail", session="shown").json()
    queued = {
        "capability": "echo",
        "session_id": "shown",
        "parameters": {"text": "x"},
        "not_before": "2099-01-01T00:00:00Z",
    }
    waits = server.post("/v1/tasks", json=queued).json()
    results = {"asc": {}, "desc": {}}
    for order, found in results.items():
        page = server.get("/v1/contracts", params={"session_id": "shown", "type": "REQUEST", "order": order}).json()
        found |= {each["contract_id"]: each["result"] for each in page["contracts"]}
    assert (
        results["asc"]
        == results["desc"]
        == {done["contract_id"]: {"message": "Echo: hi"}, failed["contract_id"]: None, waits["contract_id"]: None}
    )
    one = server.get(f"/v1/contracts/{done['contract_id']}").json()
    assert one["result"] == one["counterpart"]["result"] == {"message": "Echo: hi"}
    other = server.get(f"/v1/contracts/{one['counterpart']['contract_id']}").json()
    assert other["result"] == other["counterpart"]["result"] == {"message": "Echo: hi"}
    found = server.get("/v1/contracts", params={"session_id": "shown", "text": "echo hi"}).json()
    assert [each["result"] for each in found["contracts"]] == [{"message": "Echo: hi"}]

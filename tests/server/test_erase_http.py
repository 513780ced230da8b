"""`DELETE /v1/contracts/{contract_id}/content`."""

from api import ask
from erasing_rows import NEEDLE, contains
from homes import Home
from serving import serving
from tokens import new_bearer


def test_an_administrator_erases_an_exchange_while_the_server_runs(own_home: Home) -> None:
    admin = new_bearer(own_home, "root", "--scope", "admin")
    runner = new_bearer(own_home, "ci", "--scope", "run", "--scope", "read")
    with serving(own_home) as server:
        key = {"Idempotency-Key": '"key-1"'}
        asked = ask(server, parameters={"text": NEEDLE}, headers={**runner, **key}).json()
        path = f"/v1/contracts/{asked['contract_id']}/content"
        assert contains(own_home.ledger)
        assert server.client.delete(path, headers=runner).status_code == 403
        assert server.client.delete(f"/v1/contracts/{'0' * 26}/content", headers=admin).status_code == 404
        rejected = server.client.delete(path, headers=admin, params={"reason": "a\0b"})
        assert (rejected.status_code, "reason" in rejected.json()["detail"]) == (422, True)
        erased = server.client.delete(path, headers=admin, params={"reason": "leaked"})
        assert erased.status_code == 200
        assert (erased.json()["contracts"], erased.json()["cleaned"]) == (2, True)
        assert not contains(own_home.ledger)
        shown = server.get(f"/v1/contracts/{asked['contract_id']}", headers=runner).json()
        assert (shown["payload"], shown["counterpart"]["result"]) == ({}, None)
        mark = shown["metadata"]["erased"]
        assert (mark["by"], mark["reason"], mark["erasure_id"]) == ("root", "leaked", erased.json()["erasure_id"])
        assert shown["metadata"]["caller"]["name"] == "ci"
        again = server.client.delete(path, headers=admin).json()
        assert (again["erasure_id"], again["contracts"]) == (None, 0)
        replayed = ask(server, parameters={"text": NEEDLE}, headers={**runner, **key})
        assert replayed.status_code == 410
        assert replayed.json()["code"] == "content_erased"
        assert not contains(own_home.ledger)
        assert ask(server, headers=runner).status_code == 200

"""Memory survives a prune, and its citations of pruned contracts are told from wrong ones."""

from homes import Home
from ledger_state import change

from aorch import jsonio


def test_a_citation_of_a_pruned_contract_verifies_as_pruned(incident: Home) -> None:
    """Contracts that were pruned count among those that a block covers."""
    home = incident
    ((session, covered),) = home.rows("SELECT session_id, count(*) FROM contracts GROUP BY session_id")
    assert home.aorch("compress", session).code == 0
    before = home.aorch("memory", "verify", session, "--json").json
    assert (before["faults"], before["pruned"]) == ([], [])
    block = home.aorch("memory", "show", session, "--json").out
    done = home.aorch("ledger", "prune", "--keep", "1s", "--json")
    assert done.code == 0, done.err
    left = {contract_id for (contract_id,) in home.rows("SELECT contract_id FROM contracts")}
    assert 0 < len(left) < covered  # an exchange is still open
    assert home.aorch("memory", "show", session, "--json").out == block
    found = home.aorch("memory", "verify", session, "--json")
    assert found.code == 0, found.err
    assert found.json["faults"] == []
    cited = {each for (text,) in home.rows("SELECT block FROM memory_blocks") for each in cited_in(jsonio.decode(text))}
    assert {each["contract_id"] for each in found.json["pruned"]} == cited - left
    assert {each["state"] for each in found.json["pruned"]} == {"pruned"}
    assert "which was pruned" in home.aorch("memory", "verify", session).out


def test_a_citation_of_a_contract_that_never_existed_is_a_mismatch_after_a_prune_too(incident: Home) -> None:
    """And so is one of a contract that was deleted in another way."""
    home = incident
    ((session, covered),) = home.rows("SELECT session_id, count(*) FROM contracts GROUP BY session_id")
    assert home.aorch("compress", session).code == 0
    home.aorch("ledger", "prune", "--keep", "1s")
    cited = home.aorch("memory", "verify", session, "--json").json["pruned"][0]["contract_id"]
    write(home, "DELETE FROM pruned_contracts WHERE contract_id = ?", cited)
    found = home.aorch("memory", "verify", session, "--json")
    assert found.code == 13
    faults = [each["fault"] for each in found.json["faults"]]
    assert any(f"cites {cited}, which does not exist" in fault for fault in faults)
    assert any(f"covers {covered} contracts; from first to last there are" in fault for fault in faults)


def cited_in(value: object) -> set[str]:
    """The contract ids that the claims of a block cite."""
    if isinstance(value, dict):
        own = set(value.get("contract_ids", ()))
        return own.union(*map(cited_in, value.values())) if value else own
    if isinstance(value, list):
        return set().union(*map(cited_in, value))
    return set()


def write(home: Home, sql: str, *values: object) -> None:
    change(home.ledger, sql, *values)


def test_a_compression_that_runs_during_a_prune_may_cite_what_is_pruned(incident: Home) -> None:
    """It has read contracts that are gone when its block is written."""
    from aorch.ledger.database import exclusive

    before = incident.rows("SELECT count(*) FROM contracts")[0][0]
    with exclusive(incident.ledger, "compress") as mine:
        assert mine
        incident.aorch("ledger", "prune", "--keep", "1s")
    left = incident.rows("SELECT count(*) FROM contracts")[0][0]
    assert incident.rows("SELECT count(*) FROM pruned_contracts") == [(before - left,)]
    assert left < before

"""Checks of what a command printed and wrote."""

from homes import Home, Result


def failed_with(done: Result, code: int, *said: str) -> bool:
    """Whether the command ended with that exit code, nothing on stdout, and sentences that say all of that."""
    assert done.code == code, done
    assert done.out == ""
    first, _, rest = done.err.partition("\n")
    err = rest if first.startswith("warning: no ledger at ") else done.err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert err.count("\n") <= 2
    for each in said:
        assert each in err
    return True


def ends_of(home: Home) -> list[tuple[str, str]]:
    """(type, status) of every contract, in order."""
    return home.rows("SELECT contract_type, status FROM contracts ORDER BY position")

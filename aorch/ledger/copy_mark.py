"""The mark of a ledger to which a copy is not complete (copying.py). It is part of the revision, which each process reads when it
opens a ledger, so none takes the ledger for a whole one; an older aorch refuses it as too new.
"""

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import LedgerInvalid

MARK = "copying "
"""The beginning of a marked revision."""
_IS_MARKED = f"substr(version_num, 1, {len(MARK)}) = '{MARK}'"
SET = f"UPDATE alembic_version SET version_num = '{MARK}' || version_num WHERE NOT {_IS_MARKED}"  # noqa: S608  constants
CLEAR = f"UPDATE alembic_version SET version_num = substr(version_num, {len(MARK) + 1}) WHERE {_IS_MARKED}"  # noqa: S608


class IncompleteCopy(LedgerInvalid):
    """A copy to the ledger was interrupted, or still runs: its revision has the mark."""

    def __init__(self, location: LedgerLocation) -> None:
        super().__init__(
            f"a copy to the ledger {location} is not complete",
            "Wait for `aorch ledger copy`. If it was interrupted, run it again: it starts from the beginning.",
        )

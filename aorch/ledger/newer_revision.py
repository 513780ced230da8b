"""The refusal of a ledger that a newer aorch has upgraded."""

from aorch.config.ledger_location import LedgerLocation
from aorch.errors import LedgerTooNew
from aorch.ledger import copy_mark


def refuse(location: LedgerLocation, found: str, known: str) -> None:
    """Raise LedgerTooNew if the revision `found` is newer than all that this aorch knows; `known` is the newest of these.

    A revision with the mark of an incomplete copy is not refused here.
    """
    if found > known and not found.startswith(copy_mark.MARK):
        raise LedgerTooNew(
            f"the ledger {location} has revision {found} of a newer aorch; this aorch supports {known}",
            "Upgrade aorch, or name another ledger with --ledger.",
        )

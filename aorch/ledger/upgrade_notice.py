"""The notice that a large ledger is being upgraded."""

from collections.abc import Callable

from aorch.config.ledger_location import LedgerLocation

LARGE_BYTES = 50_000_000
"""From this size on, an upgrade may take more than half a second."""


def notify(location: LedgerLocation, size: int) -> None:
    """Tell `watchers` that the ledger is being upgraded, if its `size` (bytes) is large; without watchers, log it."""
    if size >= LARGE_BYTES:
        for tell in watchers or [_log]:
            tell(f"upgrading the ledger {location} ({size / 1e6:.0f} MB); other processes cannot write to it meanwhile")


watchers: list[Callable[[str], None]] = []
"""What a command shows. Not a handler of `logging`, which takes longer to import than most commands take to start."""


def _log(text: str) -> None:
    from aorch.logs import ROOT  # noqa: PLC0415  see above

    ROOT.getChild("ledger").warning("%s", text)

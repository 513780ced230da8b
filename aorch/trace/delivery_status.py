"""The state of the deliveries to Trace for `aorch trace status`, and the retry of parked deliveries. Trace is not contacted."""

import time
from collections.abc import Iterable
from typing import Any

from aorch.config.settings import Config
from aorch.errors import NotFound, UsageError
from aorch.ledger.database import Database
from aorch.ledger.outbox import DUE, Outbox, Parked, ParkedKind, deliveries_of
from aorch.trace.lease import peek

MOST_SHOWN = 100
MOST_KINDS = 20


def require_url(config: Config) -> None:
    """Raise UsageError if Trace is switched off, or not configured for this ledger."""
    if not config.trace_url:
        raise UsageError(
            "Trace is switched off, or this ledger has no URL of Trace",
            "Set TRACE_URL, or url in [trace] of aorch.toml. The default URL is used only for the default ledger.",
        )


def status(config: Config) -> dict[str, Any]:
    """The state of the deliveries. Raises LedgerError.

    `url` (null if Trace is switched off), `configured`; `due`, `delivered` and `parked` as numbers of contracts, and
    `parked_nodes`; `parked_summary` (at most MOST_KINDS: `state`, `kind`, `reason`, `deliveries`, and `contract_id` of the
    first one); `parked_deliveries` (at most MOST_SHOWN: `contract_id`, `kind`, `session_id`, `state`, `reason`, `attempts`,
    `parked_at`); `delivering` (`pid`, and `waiting_s`: how long it has waited for an answer) or null; `last_error` (`error`,
    `at`, `failures` in a row, `next_in_s`) or null.
    """
    state, held = peek(config.ledger)
    parked: list[Parked] = []
    kinds: list[ParkedKind] = []
    if Database(config.ledger).exists():
        with Outbox(config.ledger, reading=True) as outbox:
            parked, kinds = outbox.parked(most=MOST_SHOWN), outbox.parked_kinds(MOST_KINDS)
    started_at = state.request_started_at
    waiting_s = None if started_at is None else round(max(time.time() - started_at, 0), 3)
    next_in_s = round(max(state.retry_at - time.time(), 0), 3)
    last = {"error": state.error, "at": state.error_at, "failures": state.failures, "next_in_s": next_in_s}
    return {
        "url": config.trace_url or None,
        "configured": config.trace_configured,
        **deliveries_of(config.ledger),
        "parked_summary": [each._asdict() for each in kinds],
        "parked_deliveries": [_as_dict(each) for each in parked],
        "delivering": {"pid": state.pid, "waiting_s": waiting_s} if held and state.pid else None,
        "last_error": last if state.error else None,
    }


def retry(config: Config, ids: Iterable[str]) -> list[Parked]:
    """Make parked deliveries due again and return them: those of the contracts whose IDs begin with `ids`, or all of them.

    Raises NotFound if a prefix matches no parked delivery, UsageError if Trace is switched off, and LedgerError.
    """
    require_url(config)
    if not Database(config.ledger).exists():
        raise NotFound(f"ledger not found: {config.ledger}", "Run a task first, or choose another file with --ledger.")
    prefixes = tuple(each.upper() for each in ids)
    with Outbox(config.ledger) as outbox:
        parked = outbox.parked()
        for prefix in prefixes:
            if not any(one.contract_id.upper().startswith(prefix) for one in parked):
                raise NotFound(f"no parked delivery has a contract ID that begins with {prefix!r}", _HINT)
        chosen = [one for one in parked if not prefixes or one.contract_id.upper().startswith(prefixes)]
        outbox.park(*(one._replace(state=DUE) for one in chosen))
    return chosen


_HINT = "List the parked deliveries with `aorch trace status`."


def _as_dict(parked: Parked) -> dict[str, Any]:
    return {name: value for name, value in parked._asdict().items() if name != "position"}

"""Erases the content of selected contracts: finds them, tells what an erasure would do, and does it.

How a contract and its copies are erased is in ledger/erasing.py.
"""

import os
import pwd
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aorch import jsonio
from aorch.clock import now, rfc3339
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Conflict, LedgerError, UsageError
from aorch.govern.copies_elsewhere import CopiesElsewhere, find_copies
from aorch.govern.erasure_search import blocks_with_words, contains, contracts_with_copies
from aorch.ids import new_id
from aorch.ledger import erasing, task_queue
from aorch.ledger.contract_metadata import mark_of
from aorch.ledger.database import (
    Connection,
    Database,
    RewriteEstimate,
    check_rewrite_space,
    estimate_rewrite,
    exclusive,
)
from aorch.ledger.erasing import BlockRewriter, Eraser, Erasure, ErasureCounts
from aorch.ledger.filters import Filter
from aorch.ledger.metric_totals import MetricStore
from aorch.ledger.reader import Reader
from aorch.ledger.record import REQUEST, Record
from aorch.ledger.related_exchanges import related_to
from aorch.ledger.search import Progress
from aorch.ledger.upkeep import kept_aside

BATCH = 1000
"""Exchanges that one transaction erases."""
LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class ErasureSelection:
    """Which exchanges to erase: those of the contracts `ids` (or beginnings or ends of ids), or all that match the other fields.

    `before`: an aware time; contracts created before it. `text`: contracts that contain it in their payload, result, error
    or metadata, or about which the ledger keeps it elsewhere (erasure_search.py), and memory blocks with it in their intent or
    summary, in upper or lower case as given unless it `ignores_case`; if `is_pattern`, it is a regular expression of Python.
    `erased_in`: the contracts that were erased in that ledger. `with_related`: also the exchanges that are related
    to these (related_exchanges.py). Raises UsageError.
    """

    ids: tuple[str, ...] = ()
    session_id: str | None = None
    before: datetime | None = None
    text: str | None = None
    is_pattern: bool = False
    ignores_case: bool = False
    erased_in: LedgerLocation | None = None
    with_related: bool = False

    def __post_init__(self) -> None:
        filtered = any(each is not None for each in (self.session_id, self.before, self.text))
        ways = [bool(self.ids), self.erased_in is not None, filtered]
        if sum(ways) != 1:
            raise UsageError(
                "contract IDs and --erased-in cannot be combined with other options"
                if any(ways)
                else "no contracts selected",
                "Give the IDs of contracts, --session, --older-than, --text-match or --erased-in.",
            )
        if self.text == "":
            raise UsageError("the text to match is empty", "Give the text that the contracts to erase contain.")
        self.pattern()

    def pattern(self) -> "re.Pattern[str] | None":
        """The compiled text; None if there is none. Raises UsageError."""
        if self.text is None:
            return None
        try:
            how = re.IGNORECASE if self.ignores_case else re.NOFLAG
            return re.compile(self.text if self.is_pattern else re.escape(self.text), how)
        except re.error as error:
            raise UsageError(
                f"invalid regular expression: {error}", "Leave out --regex to match the text as it is."
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """What the ledger records about it: never the text, which may be what has to be erased."""
        named = {
            "contracts": len(self.ids) or None,
            "session_id": self.session_id,
            "before": None if self.before is None else rfc3339(self.before),
            "text_match": None if self.text is None else True,
            "erased_in": None if self.erased_in is None else str(self.erased_in),
            "with_related": self.with_related or None,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(slots=True)
class ErasurePlan:
    """What an erasure would do: `exchanges` (ids of REQUESTs), the number of their `contracts`, and the exchanges that it leaves
    out because they are open or erased already. `cited_again`: exchanges erased already that memory blocks cite again, whose
    claims it removes. `blocks`: memory blocks (ids) whose intent or summary it removes because they contain the text. `related`:
    exchanges that it leaves out although they may repeat the content (related_exchanges.py). `unfinished`: an interrupted
    erasure has left old bytes in the ledger's files.
    """

    exchanges: list[str] = field(default_factory=list)
    contracts: int = 0
    still_open: list[str] = field(default_factory=list)
    erased_before: int = 0
    cited_again: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    related: list[str] = field(default_factory=list)
    first_at: str = ""
    last_at: str = ""
    sessions: int = 0
    unfinished: bool = False
    elsewhere: CopiesElsewhere = field(default_factory=CopiesElsewhere)
    rewrite: RewriteEstimate | None = None

    @property
    def has_work(self) -> bool:
        """Whether there is anything to erase or to finish."""
        return bool(self.exchanges or self.cited_again or self.blocks) or self.unfinished

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        rewrite = self.rewrite
        return {
            "exchanges": len(self.exchanges),
            "contracts": self.contracts,
            "sessions": self.sessions,
            "first_at": self.first_at or None,
            "last_at": self.last_at or None,
            "open": len(self.still_open),
            "erased_before": self.erased_before,
            "cited_again": len(self.cited_again),
            "memory_blocks": len(self.blocks),
            "related": len(self.related),
            "unfinished": self.unfinished,
            "elsewhere": self.elsewhere.as_dict(),
            "rewrite": rewrite and {"disk_bytes": rewrite.disk_bytes, "lock_s": round(rewrite.lock_s, 3)},
        }


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """What was erased. `erasure_id` is empty if nothing was; `cleaned`: no old bytes are left in the ledger's files."""

    erasure_id: str
    counts: ErasureCounts
    cleaned: bool

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "erasure_id": self.erasure_id or None,
            "exchanges": self.counts.exchanges,
            "contracts": self.counts.contracts,
            "memory_blocks": self.counts.blocks,
            "cleaned": self.cleaned,
        }


def plan_erasure(ledger: LedgerLocation, selection: ErasureSelection, progress: Progress | None = None) -> ErasurePlan:
    """What erasing `selection` would do now. Writes nothing to the ledger.

    Raises NotFound and UsageError for an id, Conflict if the exchange of an id is open, and LedgerError.
    """
    plan, sessions = ErasurePlan(), set[str]()
    with Reader(ledger) as reader:
        ids = dict.fromkeys(_selected(ledger, reader, selection, progress))
    if not Database(ledger).exists():
        return plan
    with Database(ledger) as database, database.read() as connection:
        if selection.with_related:
            ids |= dict.fromkeys(related_to(connection, ids))
        for batch in erasing.batches_of(_with_corrections(connection, ids), BATCH):
            closed: list[tuple[int, Record]] = []
            erased: list[tuple[int, Record]] = []
            for request_id, rows in erasing.exchanges_of(connection, batch).items():
                if any(_is_open(record) for _, record in rows):
                    plan.still_open.append(request_id)
                elif all(mark_of(record) for _, record in rows):
                    plan.erased_before += 1
                    erased += rows
                else:
                    plan.exchanges.append(request_id)
                    closed += rows
            plan.contracts += len(closed)
            sessions.update(record.session_id for _, record in closed)
            times = [record.created_at for _, record in closed] + ([plan.first_at] if plan.first_at else [])
            plan.first_at, plan.last_at = min(times, default=""), max([*times, plan.last_at], default="")
            find_copies(connection, closed, plan.elsewhere)
            plan.cited_again += erasing.cited_again(connection, erased)
        if (pattern := selection.pattern()) is not None:
            plan.blocks = blocks_with_words(connection, pattern, selection.session_id, selection.before)
        plan.related = [] if selection.with_related else related_to(connection, plan.exchanges)
    plan.elsewhere.files = [str(file) for file in kept_aside(ledger)]
    if selection.ids and plan.still_open:
        raise Conflict(
            f"{plan.still_open[0]} is still open",
            "Cancel it with `aorch contracts cancel ID`, or wait until it ends. Then erase it.",
            http_hint="Cancel it with POST /v1/tasks/{contract_id}/cancel, or wait until it ends. Then erase it.",
        )
    plan.sessions, plan.unfinished = len(sessions), erasing.has_unfinished(ledger)
    plan.rewrite = estimate_rewrite(ledger) if plan.has_work else None
    return plan


def erase(
    ledger: LedgerLocation,
    selection: ErasureSelection,
    plan: ErasurePlan,
    by: str,
    reason: str,
    rewrite_block: BlockRewriter,
    progress: Progress | None = None,
) -> ErasureResult:
    """Erase the exchanges of `plan`, and remove their old bytes from the ledger's files.

    Each exchange is erased completely or not at all, and durable once `progress` has counted it. If the process is killed, the
    next erasure of any contracts removes the bytes that were left. Raises Conflict if another erasure is running, UsageError,
    LedgerFull before it starts if the disk has not enough space, and LedgerError.
    """
    if len(reason) > LONGEST_REASON or jsonio.storable_text(reason) != reason:
        raise UsageError(f"invalid reason: {reason[:60]!r}", f"Use up to {LONGEST_REASON} characters without U+0000.")
    erasure = Erasure(f"{erasing.PREFIX}{new_id()}", now(), by, reason, selection.as_dict(), None)
    with exclusive(ledger, "erasure") as alone:
        if not alone:
            raise Conflict("another erasure of this ledger is running", "Try again when it has finished.")
        if not plan.has_work:
            return ErasureResult("", ErasureCounts(erased_before=plan.erased_before), cleaned=True)
        check_rewrite_space(ledger)
        with MetricStore(ledger) as metrics:
            metrics.catch_up()
        with Database(ledger).transactions() as connection:
            eraser = Eraser(connection, erasure, rewrite_block)
            done = 0
            for batch in erasing.batches_of(plan.exchanges + plan.cited_again, BATCH):
                eraser.erase(batch)
                done += len(batch)
                if progress is not None:
                    progress(done, len(plan.exchanges) + len(plan.cited_again))
            if (pattern := selection.pattern()) is not None:
                eraser.erase_words(plan.blocks, pattern)
        erasure_id = erasure.erasure_id if eraser.counts.contracts or eraser.counts.blocks else ""
        return ErasureResult(erasure_id, eraser.counts, _finished(ledger))


def _with_corrections(connection: Connection, ids: Iterable[str]) -> dict[str, None]:
    """The exchanges `ids`, each once, and the corrections of memory that repeat content of theirs."""
    batches = erasing.batches_of(ids, BATCH)
    return dict.fromkeys(each for batch in batches for each in erasing.corrected_too(connection, batch))


def _finished(ledger: LedgerLocation) -> bool:
    try:
        return erasing.finish(ledger)
    except LedgerError as error:
        error.hint = f"The contracts are erased, but old bytes may be left in the ledger's files. {error.hint}".strip()
        raise


def user_name() -> str:
    """The name of the user who runs this process, or its number."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _is_open(record: Record) -> bool:
    return record.contract_type == REQUEST and record.status in task_queue.OPEN


def _selected(
    ledger: LedgerLocation, reader: Reader, selection: ErasureSelection, progress: Progress | None
) -> Iterator[str]:
    """The ids of the exchanges that `selection` selects, oldest first; one can occur more than once."""
    if selection.ids:
        yield from (erasing.exchange_id(reader.find(part)) for part in selection.ids)
        return
    if selection.erased_in is not None:
        yield from erasing.erased_ids(selection.erased_in)
        return
    pattern = selection.pattern()
    copied = set[str]() if pattern is None else contracts_with_copies(ledger, pattern)
    for record in reader.stream(Filter(session_id=selection.session_id, until=selection.before), progress):
        if pattern is None or record.contract_id in copied or contains(record, pattern):
            yield erasing.exchange_id(record)

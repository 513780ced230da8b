"""Which copies of contracts the ledger knows to be elsewhere: in Trace, in MemAgent, at the receivers of webhooks."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ledger.contract_metadata import read_metadata
from aorch.ledger.database import Connection, statements
from aorch.ledger.outbox import DESTINATION, UNKNOWN
from aorch.ledger.record import Record, text_in


@dataclass(slots=True)
class CopiesElsewhere:
    """Contracts (ids) that Trace has received, those that it may have received, sessions of MemAgent that have notes about
    them, the hosts that received webhooks with their results, older ledgers that `aorch ledger restore` has kept, and unfinished
    copies of killed backups.
    """

    trace: list[str] = field(default_factory=list)
    trace_maybe: list[str] = field(default_factory=list)
    memagent: list[str] = field(default_factory=list)
    webhooks: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "trace": self.trace,
            "trace_maybe": self.trace_maybe,
            "memagent": self.memagent,
            "webhooks": self.webhooks,
            "files": self.files,
        }


def find_copies(connection: Connection, rows: list[tuple[int, Record]], found: CopiesElsewhere) -> None:
    """Add what the ledger knows about these contracts (each with its position) to `found`."""
    if not rows:
        return
    ids = jsonio.encode([record.contract_id for _, record in rows])
    outbox = connection.execute(statements.OUTBOX_POSITION, (DESTINATION,)).fetchone() or (0, 0)
    parked = dict(connection.execute(statements.PARKED_EVENTS_OF, (ids,)).fetchall())
    for position, record in rows:
        state = parked.get(record.contract_id)
        if state == UNKNOWN or (state is None and outbox[0] < position <= outbox[1]):
            found.trace_maybe.append(record.contract_id)
        elif state is None and position <= outbox[0]:
            found.trace.append(record.contract_id)
    first: dict[str, int] = {}
    for position, record in rows:
        first[record.session_id] = min(position, first.get(record.session_id, position))
    for session_id, position in first.items():
        _add(found.memagent, _sessions_in_memagent(connection, session_id, position))
    hosts = [_webhook_host(record) for _, record in rows]
    _add(found.webhooks, [host for host in hosts if host])


def _sessions_in_memagent(connection: Connection, session_id: str, position: int) -> list[str]:
    """MemAgent's sessions with notes from the memory blocks of that session that end at that position or later."""
    names = []
    for *_, beside in connection.execute(statements.BLOCKS_AFTER, (session_id, position)):
        form = {} if beside is None else jsonio.decode(beside)
        if form.get("sent") or form.get("notes"):
            names.append(str(form.get("memagent_session_id", "")))
    return names


def _webhook_host(record: Record) -> str | None:
    try:
        url = text_in(read_metadata(jsonio.decode(record.metadata)).queue, "webhook")
        return None if url is None else urlsplit(url).hostname
    except (InvalidJSON, ValueError, AttributeError):  # an imported contract may have anything there
        return None


def _add(names: list[str], more: list[str]) -> None:
    names += [name for name in dict.fromkeys(more) if name not in names]

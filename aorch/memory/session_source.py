"""What a compression reads from the ledger, and where it adds blocks: through the same connections for all sessions."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Self

from aorch import jsonio
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Conflict, NotFound
from aorch.ledger.memory_blocks import BlockRow, Memory, Segment
from aorch.ledger.reader import Filter, Reader
from aorch.memory.block import MemoryBlock
from aorch.memory.corrections import Corrections, applying
from aorch.memory.local.spoken_sentences import is_closing


class NewBlock(NamedTuple):
    """A block of a segment, which is not in the ledger yet, with its companion data."""

    segment: Segment
    block: MemoryBlock
    companion: dict[str, Any] | None = None


class SessionSource:
    """The sessions of the ledger at that location; open inside a `with` block. Any thread may use it.

    To open the database for each session took as long as to read a small one. Every method raises LedgerError.
    """

    def __init__(self, ledger: LedgerLocation) -> None:
        self.ledger = ledger
        self._memory, self._reader = Memory(ledger), Reader(ledger)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.__exit__()
        self._reader.close()

    def sessions(self, named: Iterable[str] | None) -> list[tuple[str, bool]]:
        """The sessions to compress (None: all), each with whether it may have new contracts."""
        if named is not None:
            return [(session_id, True) for session_id in dict.fromkeys(named)]
        return list(self._memory.every_session())

    def segment(self, session_id: str) -> Segment:
        """The new contracts of a session. Raises NotFound if it has no contracts."""
        segment = self._memory.segment(session_id)
        if segment is None:
            raise NotFound(
                f"session {session_id!r} not found",
                "`aorch contracts list` shows contracts with their sessions.",
                http_hint="GET /v1/sessions lists the sessions.",
            )
        return self._with_closing_words(segment)

    def _with_closing_words(self, segment: Segment) -> Segment:
        """`segment` with the thanks of a person at its end: they need no answer, so they do not wait for the next block."""
        if not segment.contracts or segment.newest <= segment.last:
            return segment
        newer = list(islice(self._reader.stream(Filter(session_id=segment.session_id), after=segment.last), 2))
        if len(newer) != 1 or not is_closing(newer[0].as_dict()):
            return segment
        return segment._replace(last=segment.newest, contracts=segment.contracts + 1)

    def corrections(self, session_id: str) -> Corrections:
        """The corrections that apply to a session."""
        return Corrections(applying(self._memory.corrections(session_id)))

    def contracts(self, segment: Segment) -> Iterator[dict[str, Any]]:
        """The contracts of `segment` in their JSON form, oldest first, read in chunks."""
        of_session = Filter(session_id=segment.session_id)
        for row in self._reader.stream(of_session, after=segment.after, last=segment.last):
            if row.contract_id not in segment.corrections:
                yield row.as_dict()

    def sent_notes(self, session_id: str) -> list[str]:
        """The hashes of the notes of a session that MemAgent already has."""
        return [note for companion in self._memory.beside(session_id) for note in companion.get("notes", ())]

    def add(self, new: Sequence[NewBlock]) -> dict[str, Conflict]:
        """Commit blocks together; durable when this returns.

        The result has the sessions whose block was not added: another process has added one, or contracts in it were erased
        meanwhile.
        """
        rows = [_row(each) for each in new]
        conflicts: dict[str, Conflict] = {}
        with self._memory.adding() as add:
            for (segment, block, _), row in zip(new, rows, strict=True):
                kept = {each for claim in (*block.pinned, *block.notes) for each in claim.contract_ids}
                session_id = segment.session_id
                try:
                    if not add(row, segment.after, segment.erased, kept):
                        conflicts[session_id] = Conflict(
                            f"another process has compressed the session {session_id!r} meanwhile", "Try again."
                        )
                except Conflict as erased:
                    conflicts[session_id] = erased
        return conflicts


def _row(new: NewBlock) -> BlockRow:
    return BlockRow(
        block_id=new.block.block_id,
        session_id=new.segment.session_id,
        created_at=new.block.created_at,
        last_position=new.segment.last,
        block=jsonio.encode(new.block.as_dict()),
        beside=None if new.companion is None else jsonio.encode(new.companion),
    )

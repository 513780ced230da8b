"""Opens the memory that a command reads: that of a ledger of this machine, or that of a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from aorch.cli.ledger_source import chosen_server, warn_of_version
from aorch.cli.options import ledger_to_read
from aorch.ledger.memory_blocks import Memory
from aorch.memory.memory_queries import (
    BlockReader,
    ClaimMatch,
    as_prompt,
    block_forms,
    blocks_by_session,
    blocks_of,
    check_session,
    newest_changes_form,
    search_claims,
    verification,
)

if TYPE_CHECKING:
    from aorch.config.ledger_location import LedgerLocation

Forms = list[dict[str, Any]]
"""Memory blocks in their JSON form, with `beside`."""


class MemorySource(Protocol):
    """Memory blocks as readers see them."""

    @property
    def path(self) -> "LedgerLocation | None":
        """Where the ledger is; None if it is that of a server."""
        ...

    def newest(self, session_id: str | None, before: str | None, limit: int) -> Forms:
        """Blocks of a session (None: of all) before that block's ID, newest first. Raises NotFound for an unknown session."""
        ...

    def blocks(self, reference: str) -> Forms:
        """The block with that ID, or all blocks of that session, oldest first. Raises NotFound if there is neither."""
        ...

    def by_session(self, session_id: str | None) -> Iterator[tuple[str, Forms]]:
        """Each session that has blocks (or only `session_id`), ordered by ID, with its blocks, oldest first. Raises NotFound
        for an unknown session.
        """
        ...

    def prompt(self, reference: str, max_tokens: int) -> dict[str, Any]:
        """The block with that ID, or all blocks of that session, as text for a model (`session_id`, `text`, `cites`)."""
        ...

    def search(self, words: str, session_id: str | None, limit: int) -> list[ClaimMatch]:
        """Claims that contain all of `words`, those of the newest blocks first. Raises NotFound for an unknown session."""
        ...

    def verify(self, references: list[str] | None) -> dict[str, Any]:
        """How the blocks of these sessions, or with these IDs (None: all), differ from the ledger (`blocks`, `faults`, …)."""
        ...

    def shared_prompt(self, sessions: list[str] | None, about: str | None, max_tokens: int) -> dict[str, Any]:
        """A text for a model about these sessions, or about a question (`session_ids`, `text`, `cites`, `left_out`)."""
        ...

    def changes(self, reference: str, max_tokens: int) -> dict[str, Any]:
        """What the newest block changes in a prompt (`session_id`, `block_id`, `max_tokens`, `changes`)."""
        ...


@contextmanager
def open_memory(ledger: str | None) -> Iterator[MemorySource]:
    """The memory that the options and the environment choose."""
    server = chosen_server(ledger)
    if server is None:
        yield _LocalMemory(ledger_to_read(ledger))
        return
    from aorch.cli.remote_memory import RemoteMemory

    with RemoteMemory(server, warn_of_version) as remote:
        yield remote


class _LocalMemory:
    def __init__(self, path: "LedgerLocation") -> None:
        self.path = path

    def newest(self, session_id: str | None, before: str | None, limit: int) -> Forms:
        with Memory(self.path) as memory:
            reader = BlockReader(memory)
            found = [reader.form(row) for row in memory.newest(session_id, before=before, limit=limit)]
        if not found:
            check_session(self.path, session_id)
        return found

    def blocks(self, reference: str) -> Forms:
        return block_forms(self.path, blocks_of(self.path, reference))

    def by_session(self, session_id: str | None) -> Iterator[tuple[str, Forms]]:
        for name, rows in blocks_by_session(self.path, session_id):
            yield name, block_forms(self.path, rows)

    def prompt(self, reference: str, max_tokens: int) -> dict[str, Any]:
        rows = blocks_of(self.path, reference)
        return as_prompt(self.path, rows[0].session_id if rows else reference, rows, max_tokens)

    def search(self, words: str, session_id: str | None, limit: int) -> list[ClaimMatch]:
        found = list(islice(search_claims(self.path, words, session_id), limit))
        if not found:
            check_session(self.path, session_id)
        return found

    def verify(self, references: list[str] | None) -> dict[str, Any]:
        return verification(self.path, references)

    def shared_prompt(self, sessions: list[str] | None, about: str | None, max_tokens: int) -> dict[str, Any]:
        from aorch.memory.shared_prompts import about_prompt, sessions_prompt

        if about is None:
            return sessions_prompt(self.path, sessions or (), max_tokens)
        return about_prompt(self.path, about, sessions or None, max_tokens)

    def changes(self, reference: str, max_tokens: int) -> dict[str, Any]:
        return newest_changes_form(self.path, reference, max_tokens)

"""Where a command corrects memory: in a ledger of this machine, or on a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from aorch.cli.ledger_source import chosen_server, warn_of_version
from aorch.cli.options import ledger_to_read

if TYPE_CHECKING:
    from aorch.cli.remote_memory import RemoteMemory

Form = dict[str, Any]
"""The JSON form of a correction."""


class CorrectionsTarget(Protocol):
    """Corrects memory."""

    def pin(self, claim: str) -> Form:
        """Pin the claim with that ID."""
        ...

    def forget(self, claim: str) -> Form:
        """Forget the claim with that ID."""
        ...

    def note(self, session_id: str, text: str) -> Form:
        """Add a note to a session."""
        ...

    def undo(self, reference: str) -> Form:
        """Undo the correction with that ID, or the one of the claim with that ID."""
        ...

    def corrections(self, session_id: str | None) -> list[Form]:
        """The corrections that apply, of a session or of all. Raises NotFound for an unknown session."""
        ...


@contextmanager
def open_corrections(ledger: str | None) -> Iterator[CorrectionsTarget]:
    """The memory that the options and the environment choose."""
    server = chosen_server(ledger)
    if server is None:
        yield _Local(ledger)
        return
    from aorch.cli.remote_memory import RemoteMemory

    with RemoteMemory(server, warn_of_version) as remote:
        yield _OnServer(remote)


class _Local:
    def __init__(self, ledger: str | None) -> None:
        self._ledger = ledger

    def pin(self, claim: str) -> Form:
        from aorch.config import settings
        from aorch.memory.correcting import pin_claim

        return pin_claim(settings.load(self._ledger), claim).as_dict()

    def forget(self, claim: str) -> Form:
        from aorch.config import settings
        from aorch.memory.correcting import forget_claim

        return forget_claim(settings.load(self._ledger), claim).as_dict()

    def note(self, session_id: str, text: str) -> Form:
        from aorch.config import settings
        from aorch.memory.correcting import add_note

        return add_note(settings.load(self._ledger), session_id, text).as_dict()

    def undo(self, reference: str) -> Form:
        from aorch.config import settings
        from aorch.memory.correcting import undo_correction

        return undo_correction(settings.load(self._ledger), reference).as_dict()

    def corrections(self, session_id: str | None) -> list[Form]:
        from aorch.memory.correcting import active_corrections
        from aorch.memory.memory_queries import check_session

        path = ledger_to_read(self._ledger)
        found = [one.as_dict() for one in active_corrections(path, session_id)]
        if not found:
            check_session(path, session_id)
        return found


class _OnServer:
    def __init__(self, remote: "RemoteMemory") -> None:
        self._remote = remote

    def pin(self, claim: str) -> Form:
        return self._remote.correct("pin", {"claim_id": claim})

    def forget(self, claim: str) -> Form:
        return self._remote.correct("forget", {"claim_id": claim})

    def note(self, session_id: str, text: str) -> Form:
        return self._remote.correct("note", {"session_id": session_id, "text": text})

    def undo(self, reference: str) -> Form:
        return self._remote.undo(reference)

    def corrections(self, session_id: str | None) -> list[Form]:
        return self._remote.corrections(session_id)

"""The memory of a server: its blocks, and compressions that it runs."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from aorch.cli.ledger_source import warn_of_version
from aorch.client.connection import ServerConnection
from aorch.client.problem_errors import error_in
from aorch.client.remote_tasks import new_key
from aorch.client.server_session import ServerSession, segment
from aorch.clock import rfc3339
from aorch.errors import NotFound, ServiceFailed
from aorch.memory.block import Claim
from aorch.memory.compressor import CompressionOptions, CompressionResult
from aorch.memory.memory_queries import ClaimMatch, block_in, memory_not_found

if TYPE_CHECKING:
    from aorch.client.server_address import ServerAddress

PAGE = 1000
BLOCK = "mem_"
"""How the ID of a memory block begins."""

Forms = list[dict[str, Any]]


class RemoteMemory(ServerSession):
    """A MemorySource of a server."""

    path = None

    def newest(self, session_id: str | None, before: str | None, limit: int) -> Forms:
        """Blocks of a session (None: of all) before that block's ID, newest first."""
        query = {"session_id": session_id, "cursor": before}
        found = list(self.pages("/v1/memory", "blocks", query, most=limit, page=PAGE))
        return found or self._none_of(session_id)

    def _none_of(self, session_id: str | None) -> list[Any]:
        """An empty list. Raises NotFound for an unknown session, because the pages of a server are empty then, too."""
        if session_id is not None:
            self._blocks_of(session_id, most=1)
        return []

    def _blocks_of(self, session_id: str, *, most: int | None = None, what: str = "session") -> Forms:
        path = f"/v1/sessions/{segment(session_id)}/memory"
        try:
            return list(self.pages(path, "blocks", {}, most=most, page=PAGE))
        except NotFound:
            raise memory_not_found(what, session_id) from None

    def blocks(self, reference: str) -> Forms:
        """The block with that ID, or all blocks of that session, oldest first. Raises NotFound if there is neither."""
        try:
            if reference.startswith(BLOCK):
                return [self.get(f"/v1/memory/blocks/{segment(reference)}")["block"]]
        except NotFound:
            pass
        return self._blocks_of(reference, what="session or memory block")

    def by_session(self, session_id: str | None) -> Iterator[tuple[str, Forms]]:
        """Each session that has blocks (or only `session_id`), ordered by ID, with its blocks, oldest first."""
        if session_id is not None:
            yield session_id, self._blocks_of(session_id)
            return
        for name in self.get("/v1/memory/sessions")["sessions"]:
            with suppress(NotFound):  # removed since
                yield name, self._blocks_of(name)

    def prompt(self, reference: str, max_tokens: int) -> dict[str, Any]:
        """The block with that ID, or all blocks of that session, as text for a model."""
        query = {"as": "prompt", "max_tokens": max_tokens}
        found: dict[str, Any]
        if reference.startswith(BLOCK):
            found = self.get(f"/v1/memory/blocks/{segment(reference)}", {"max_tokens": max_tokens})["prompt"]
        else:
            found = self.get(f"/v1/sessions/{segment(reference)}/memory", query)
        return {name: found[name] for name in ("session_id", "text", "cites")}

    def search(self, words: str, session_id: str | None, limit: int) -> list[ClaimMatch]:
        """Claims that contain all of `words`, those of the newest blocks first."""
        if not words.strip():
            return self._none_of(session_id)
        query = {"text": words, "session_id": session_id}
        found = list(islice(self.pages("/v1/memory/search", "claims", query, most=None, page=PAGE), limit))
        return [
            ClaimMatch(
                each["block_id"],
                each["session_id"],
                each["section"],
                Claim(each["text"], tuple(each["contract_ids"]), quotes=tuple(each["quotes"])),
            )
            for each in found
        ] or self._none_of(session_id)

    def verify(self, references: list[str] | None) -> dict[str, Any]:
        """How blocks differ from the ledger."""
        found: dict[str, Any] = self.run(
            lambda connection: connection.post("/v1/memory/verify", {"references": references})
        )
        return found

    def shared_prompt(self, sessions: list[str] | None, about: str | None, max_tokens: int) -> dict[str, Any]:
        """A text for a model about these sessions, or about a question."""
        body = {"sessions": sessions, "about": about, "max_tokens": max_tokens}
        found: dict[str, Any] = self.run(lambda connection: connection.post("/v1/memory/prompt", body))
        if about is not None:
            del found["left_out"]
        return found

    def changes(self, reference: str, max_tokens: int) -> dict[str, Any]:
        """What the newest block changes in a prompt."""
        found: dict[str, Any] = self.get("/v1/memory/changes", {"reference": reference, "max_tokens": max_tokens})
        return found

    def correct(self, action: str, body: dict[str, str]) -> dict[str, Any]:
        """Pin or forget a claim, or add a note. The form of the correction."""
        key = None if action == "note" else new_key()  # a note that is sent again would be a second one
        found: dict[str, Any] = self.run(lambda connection: connection.post(f"/v1/memory/{action}", body, key=key))
        return found

    def undo(self, reference: str) -> dict[str, Any]:
        """Undo a correction. Its form."""
        path = f"/v1/memory/corrections/{segment(reference)}"
        found: dict[str, Any] = self.run(lambda connection: connection.request("DELETE", path, retries=0)).json()
        return found

    def corrections(self, session_id: str | None) -> Forms:
        """The corrections that apply, of a session or of all."""
        query = {"session_id": session_id}
        found = list(self.pages("/v1/memory/corrections", "corrections", query, most=None, page=PAGE))
        return found or self._none_of(session_id)


async def compress(
    server: "ServerAddress", sessions: list[str] | None, how: CompressionOptions
) -> AsyncIterator[CompressionResult]:
    """Let the server compress these sessions (None: all). Yields each result after its block is durable."""
    body = {
        "sessions": sessions,
        "via": how.via,
        "intent": how.intent,
        "max_tokens": how.max_tokens,
        "idle_since": how.idle_since and rfc3339(how.idle_since),
        "min_contracts": how.min_contracts,
        "min_first": how.min_first,
        "preview": how.preview,
    }
    async with ServerConnection(server) as connection:
        async with connection.stream("POST", "/v1/compress/sessions", body=body) as events:
            async for event in events:
                if event.name == "end":
                    warn_of_version(connection.server_version)
                    return
                form = event.json()
                if event.name == "error":
                    raise error_in(server.url, form)
                if event.name == "session":
                    yield _result(server.url, form)
        raise ServiceFailed(f"the server at {server.url} ended the connection without a result", "Run it again.")


def _result(url: str, form: dict[str, Any]) -> CompressionResult:
    block, problem = form["memory_block"], form["problem"]
    return CompressionResult(
        form["session_id"],
        form["compressed"],
        None if block is None else block_in(block),
        None if block is None else block["beside"],
        skipped=form["skipped"],
        error=None if problem is None else error_in(url, problem),
    )

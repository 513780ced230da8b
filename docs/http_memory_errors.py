"""The errors of the operations on memory, for the examples of the OpenAPI document."""

import asyncio
from typing import TYPE_CHECKING

from http_example_server import ECHO, UNKNOWN_CLAIM, UNKNOWN_ID, Json
from http_raised_errors import body_of, raised, writing

from aorch.config import settings
from aorch.errors import ContentErased
from aorch.ledger.database import exclusive
from aorch.memory.compressor import CompressionOptions, compress_session
from aorch.memory.correcting import MOST_KEPT

if TYPE_CHECKING:
    from http_example_errors import Errors

ERASED = ContentErased(f"contract {UNKNOWN_ID} was erased", "The claim about it is gone.")
"""The error for a correction of a claim whose contract is being erased."""


def memory_errors(errors: "Errors") -> dict[str, list[Json]]:
    """The errors of each operation on memory."""
    note, full_note, full_pin = full_session(errors)
    return {
        "shared_prompt": [
            errors.post("/v1/memory/prompt", {"max_tokens": 1}),
            errors.post("/v1/memory/prompt", {"sessions": ["session_9"]}),
        ],
        "show_changes": [errors.get("/v1/memory/changes"), errors.get("/v1/memory/changes?reference=session_9")],
        "list_memory": [errors.get("/v1/memory?cursor=3")],
        "search_memory": [errors.get("/v1/memory/search")],
        "pin_claim": [
            errors.post("/v1/memory/pin", {"claim_id": note["claim_id"]}),
            full_pin,
            body_of(ContentErased(f"contract {UNKNOWN_ID} was erased", "The claim about it is gone.")),
            errors.post("/v1/memory/pin", {}),
            errors.post("/v1/memory/pin", {"claim_id": UNKNOWN_CLAIM}),
            *writing(),
        ],
        "forget_claim": [
            body_of(ContentErased(f"contract {UNKNOWN_ID} was erased", "The claim about it is gone.")),
            errors.post("/v1/memory/forget", {}),
            errors.post("/v1/memory/forget", {"claim_id": UNKNOWN_CLAIM}),
            *writing(),
        ],
        "add_note": [
            errors.post("/v1/memory/note", {"session_id": "session_001", "text": " "}),
            full_note,
            errors.post("/v1/memory/note", {"session_id": "session_001"}),
            errors.post("/v1/memory/note", {"session_id": "session_9", "text": "The greeting is final."}),
            *writing(),
        ],
        "list_corrections": [errors.get("/v1/memory/corrections?limit=0")],
        "undo_correction": [
            errors.problem(errors.client.delete(f"/v1/memory/corrections/{UNKNOWN_ID}")),
            *writing(),
        ],
        "compress": [
            errors.post("/v1/compress", {"session_id": "session_001", "max_tokens": 1}),
            errors.post("/v1/compress", {"session_id": "session_9"}),
            errors.post("/v1/compress", {"session_id": "session_001", "via": "llm"}),
            compress_twice(errors),
            *writing(),
        ],
        "compress_many": [
            errors.post("/v1/compress/sessions", {"via": "other"}),
            errors.post("/v1/compress/sessions", {"sessions": ["session_001"], "via": "llm"}),
            compress_sessions_twice(errors),
            *writing(),
        ],
        "verify_memory": [
            errors.post("/v1/memory/verify", {"references": ["session_9"]}),
            errors.post("/v1/memory/verify", {"references": [1]}),
        ],
        "show_block": [
            errors.get("/v1/memory/blocks/mem_0"),
            errors.get("/v1/memory/blocks/mem_0?max_tokens=1"),
        ],
        "show_memory": [
            errors.get("/v1/sessions/session_9/memory"),
            errors.get("/v1/sessions/session_9/memory?max_tokens=1"),
        ],
    }


def full_session(errors: "Errors") -> tuple[Json, Json, Json]:
    """A note in a session with as many as it can have, and the errors for one more note and for a pin."""
    echo = {**ECHO, "session_id": "session_003"}
    errors.client.post("/v1/orchestrate", json=echo)
    compressed = errors.client.post("/v1/compress", json={"session_id": "session_003"}).json()
    aim = compressed["memory_block"]["aims"][0]
    body = {"session_id": "session_003", "text": "The greeting is final."}
    notes = [errors.client.post("/v1/memory/note", json=body).json() for _ in range(MOST_KEPT)]
    pin = {"claim_id": aim["claim_id"]}
    return notes[0], errors.post("/v1/memory/note", body), errors.post("/v1/memory/pin", pin)


def compress_twice(errors: "Errors") -> Json:
    """The error for a compression while another one runs, without the 30 s that the server waits for its end."""
    config = settings.load(errors.folder / "ledger.db")
    with exclusive(config.ledger, "compress"):
        compressing = compress_session(config, "session_001", CompressionOptions(), wait_s=0)
        return raised(lambda: asyncio.run(compressing))


def compress_sessions_twice(errors: "Errors") -> Json:
    """The error for a compression of several sessions while another one runs."""
    with exclusive(settings.load(errors.folder / "ledger.db").ledger, "compress"):
        return errors.post("/v1/compress/sessions", {"sessions": ["session_001"]})

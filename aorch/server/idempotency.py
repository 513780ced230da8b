"""`Idempotency-Key`: a request that is sent again does nothing again (draft-ietf-httpapi-idempotency-key-header).

A key belongs to its caller and to the body that it came with, and it is kept for as long as the ledger is: it stands there
from the REQUEST on. A request for which no agent was called leaves its key unused, so that it may be sent again.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable

from aiohttp import web
from multidict import istr

from aorch.engine.task import Answer, recorded
from aorch.errors import Conflict
from aorch.ledger.reader_pool import Readers
from aorch.server.problems import Refusal

HEADER = istr("Idempotency-Key")
LONGEST = 255

Key = tuple[str, str, str]
"""Whose it is, the key, and the fingerprint of the body that came with it."""

_BARE = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~:/=@]+")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])+)"')


def key_of(request: web.Request, caller: str, body: bytes) -> Key | None:
    """The request's key, if it has one. Raises Refusal (400) for one that is none: neither an sf-string (RFC 8941) nor bare."""
    if HEADER not in request.headers:
        return None
    given = request.headers.getall(HEADER)
    text = given[0].strip()
    quoted = _STRING.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(given) > 1 or not (quoted or _BARE.fullmatch(text)) or len(key) > LONGEST:
        raise Refusal(
            400,
            "idempotency_key_invalid",
            f"the {HEADER} is not one key of 1 to {LONGEST} characters",
            f'Send a text in quotes, such as {HEADER}: "8e03978e-40d5-43dd-bc93-6894a57f9324".',
        )
    return caller, key, hashlib.sha256(body).hexdigest()


async def once(readers: Readers, key: Key, perform: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
    """What `perform` answers, or what it answered under that key before; and whether it did before.

    Raises Refusal: 422 where the key came with another body, 409 where the first request with it is still running.
    """
    recorded = await _recorded(readers, key)
    if recorded is None:
        try:
            return await perform(), False
        except Conflict:  # another request with this key was faster
            recorded = await _recorded(readers, key)
            if recorded is None:
                raise
    return recorded, True


async def first_of(readers: Readers, key: Key) -> dict[str, object] | None:
    """The task that was accepted under that key, as it stands now (`TaskForm`). Raises Refusal (422) for another body."""
    found = await readers.read(lambda reader: reader.under_key(key[0], key[1]))
    if found is None:
        return None
    kept, request, response = found
    if kept != key[2]:
        raise _reused(key[1])
    assert request is not None  # the key is committed with it
    form, answer = request.as_dict(), response and recorded(request.as_dict(), response.as_dict())
    names = ("contract_id", "session_id", "capability", "status", "created_at", "completed_at")
    return {**{name: form[name] for name in names}, "answer": answer and answer.as_dict()}


def _reused(name: str) -> Refusal:
    return Refusal(
        422, "idempotency_key_reused", f"the {HEADER} {name!r} came with another body before", "Use a new key."
    )


async def _recorded(readers: Readers, key: Key) -> Answer | None:
    caller, name, fingerprint = key
    found = await readers.read(lambda reader: reader.under_key(caller, name))
    if found is None:
        return None
    kept, request, response = found
    if kept != fingerprint:
        raise _reused(name)
    if request is None or response is None:
        raise Refusal(
            409,
            "idempotency_in_progress",
            f"the first request with the {HEADER} {name!r} is still running",
            "Send it again later.",
            Retry_After="1",
        )
    return recorded(request.as_dict(), response.as_dict())

"""`Idempotency-Key`: sending a request again does not execute its task again (draft-ietf-httpapi-idempotency-key-header).

A key belongs to its caller and to the request body. It is stored with the REQUEST, and deleted with it. If no agent
was called, the key stays unused, so that the request can be sent again.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable

from aiohttp import web
from multidict import istr

from aorch.config.sections import RedactConfig
from aorch.engine.task import Answer, answer_from_contracts
from aorch.errors import Conflict
from aorch.ledger.contract_metadata import reject_erased
from aorch.ledger.reader_pool import Readers
from aorch.ledger.record import Record
from aorch.ledger.task_keys import CallerKey
from aorch.server.problems import HttpError

IDEMPOTENCY_KEY = istr("Idempotency-Key")
MAX_LENGTH = 255

_BARE = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~:/=@]+")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])+)"')


def idempotency_key(request: web.Request, caller: str, body: bytes) -> CallerKey | None:
    """Return the request's key, if it has one: an sf-string (RFC 8941) or a bare word. Raises HttpError (400)."""
    if IDEMPOTENCY_KEY not in request.headers:
        return None
    given = request.headers.getall(IDEMPOTENCY_KEY)
    text = given[0].strip()
    quoted = _STRING.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(given) > 1 or not (quoted or _BARE.fullmatch(text)) or len(key) > MAX_LENGTH:
        raise HttpError(
            400,
            "idempotency_key_invalid",
            f"invalid {IDEMPOTENCY_KEY} (expected one key of 1 to {MAX_LENGTH} characters)",
            f'Send a quoted string, such as {IDEMPOTENCY_KEY}: "8e03978e-40d5-43dd-bc93-6894a57f9324".',
        )
    return CallerKey(caller, key, hashlib.sha256(body).hexdigest())


async def execute_once(
    readers: Readers, key: CallerKey, redact: RedactConfig, execute: Callable[[], Awaitable[Answer]]
) -> tuple[Answer, bool]:
    """Return the answer of `execute`, or the stored answer for that key; and whether it is a stored one.

    Raises HttpError: 422 if the key was used with another body, 409 while the first request with it is running. Raises
    ContentErased if the content of that task was erased.
    """
    stored = await _stored_answer(readers, key, redact)
    if stored is None:
        try:
            return await execute(), False
        except Conflict:  # another request with this key was faster
            stored = await _stored_answer(readers, key, redact)
            if stored is None:
                raise
    return stored, True


async def earlier_task(readers: Readers, key: CallerKey, redact: RedactConfig) -> tuple[Record, Answer | None] | None:
    """Return the task that was queued with that key, and its answer if it is finished. Raises HttpError (422) and
    ContentErased.
    """
    found = await readers.read(lambda reader: reader.under_key(key[0], key[1]))
    if found is None:
        return None
    fingerprint, request, response = found
    if request is not None:
        reject_erased(request)
    if not _is_same_body(fingerprint, key[2], redact):
        raise _key_reused(key[1])
    if request is None:  # it was pruned after its key was read
        return None
    return request, response and answer_from_contracts(request.as_dict(), response.as_dict())


def _key_reused(name: str) -> HttpError:
    return HttpError(
        422,
        "idempotency_key_reused",
        f"the {IDEMPOTENCY_KEY} {name!r} was used with another body",
        "Use a new key for a new request.",
    )


def _is_same_body(stored: str, fingerprint: str, redact: RedactConfig) -> bool:
    """Whether a stored fingerprint is that of the same body. It is hashed with a key if the body contained secrets."""
    if not stored.startswith("hmac:"):
        return stored == fingerprint
    from aorch.engine.redaction import Redactor  # noqa: PLC0415  most bodies contain no secrets

    return hmac.compare_digest(stored, Redactor(redact).hash_of(fingerprint))


async def _stored_answer(readers: Readers, key: CallerKey, redact: RedactConfig) -> Answer | None:
    caller, name, fingerprint = key
    found = await readers.read(lambda reader: reader.under_key(caller, name))
    if found is None:
        return None
    stored_fingerprint, request, response = found
    if request is not None:
        reject_erased(request)
    if not _is_same_body(stored_fingerprint, fingerprint, redact):
        raise _key_reused(name)
    if request is None or response is None:
        raise HttpError(
            409,
            "idempotency_in_progress",
            f"the first request with the {IDEMPOTENCY_KEY} {name!r} is still running",
            "Send the request again later.",
            Retry_After="1",
        )
    return answer_from_contracts(request.as_dict(), response.as_dict())

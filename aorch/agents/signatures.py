"""Signed requests to HTTP endpoints: HTTP message signatures (RFC 9421) over a digest of the body (RFC 9530).

The package `http-message-signatures` is the extra `sign`. It is imported only when a request is signed or verified.
"""

import importlib.util
from collections.abc import Mapping, MutableMapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec

from aorch.config import environment
from aorch.errors import NotAuthorised, UsageError

MAX_AGE = timedelta(minutes=5)
"""How old a signature may be."""
COVERED = ("@method", "@target-uri", "content-digest", "idempotency-key")
"""What a signature covers, besides the time when it was made."""
LABEL = "aorch"


class SignConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sign` of `[agents.ID]` with `url`. The variable `key_env` has the secret (hmac-sha256), or the key as PEM (ed25519)."""

    key_env: str
    key_id: str
    algorithm: Literal["hmac-sha256", "ed25519"] = "hmac-sha256"


class Message(NamedTuple):
    """A request, as the package expects it."""

    method: str
    url: str
    headers: Any


class BadSignature(NotAuthorised):
    """The request has no signature, or it is wrong or old."""


class Signatures:
    """Signs requests with the key of `config`, or verifies them with it. For ed25519, signing needs the private key."""

    def __init__(self, config: SignConfig, *, verifies: bool = False) -> None:
        self.config, self._verifies = config, verifies

    def problem(self) -> str | None:
        """Why it cannot sign or verify, or None."""
        if importlib.util.find_spec("http_message_signatures") is None:
            return "the package `http-message-signatures` is not installed; run `pip install 'aorch[sign]'`"
        if not self.config.key_id.isascii() or not self.config.key_id.isprintable() or not self.config.key_id:
            return f"the key_id of its signatures is {self.config.key_id!r}; it must be printable ASCII"
        if not environment.secret(self.config.key_env):
            return f"key_env of its signatures names {self.config.key_env}, which is not set"
        try:
            self._verifier if self._verifies else self._signer  # noqa: B018  imports the package and reads the key
        except (ValueError, TypeError):
            kind = "public" if self._verifies else "private"
            return f"{self.config.key_env} does not contain an ed25519 {kind} key in PEM format"
        return None

    def sign(self, method: str, url: str, body: bytes, headers: MutableMapping[str, str]) -> None:
        """Add the digest of `body` and the signature to `headers`, which have an Idempotency-Key."""
        self._signer.sign(
            Message(method, url, headers),
            key_id=self.config.key_id,
            label=LABEL,
            covered_component_ids=COVERED,
            body=body,
        )

    def verify(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Raise BadSignature if the request is not signed with the key, or its signature is older than MAX_AGE."""
        from http_message_signatures import HTTPMessageSignaturesException  # noqa: PLC0415  it takes 60 ms

        message = Message(method, url, headers)
        try:
            self._verifier.verify(message, max_age=MAX_AGE, require_components=COVERED, body=body)
        except HTTPMessageSignaturesException as error:
            raise BadSignature(
                f"the request has no valid signature: {error}",
                f"Sign {', '.join(COVERED)} and the time with the key {self.config.key_id!r}.",
            ) from error

    @cached_property
    def _key(self) -> Any:
        secret = environment.secret(self.config.key_env).encode()
        if self.config.algorithm == "hmac-sha256":
            return secret
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  likewise
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415  likewise

        key: Any
        if self._verifies:
            key, kind = serialization.load_pem_public_key(secret), ed25519.Ed25519PublicKey
        else:
            key, kind = serialization.load_pem_private_key(secret, None), ed25519.Ed25519PrivateKey  # type: ignore[assignment]
        if not isinstance(key, kind):
            raise TypeError("another kind of key")
        return key

    @cached_property
    def _signer(self) -> Any:
        from http_message_signatures import HTTPMessageSigner  # noqa: PLC0415  likewise

        return HTTPMessageSigner(signature_algorithm=self._algorithm, key_resolver=self._resolver)

    @cached_property
    def _verifier(self) -> Any:
        from http_message_signatures import HTTPMessageVerifier  # noqa: PLC0415  likewise

        return HTTPMessageVerifier(signature_algorithm=self._algorithm, key_resolver=self._resolver)

    @property
    def _algorithm(self) -> Any:
        from http_message_signatures import algorithms  # noqa: PLC0415  likewise

        return algorithms.HMAC_SHA256 if self.config.algorithm == "hmac-sha256" else algorithms.ED25519

    @property
    def _resolver(self) -> Any:
        from http_message_signatures import HTTPSignatureKeyResolver  # noqa: PLC0415  likewise

        key, known_id = self._key, self.config.key_id

        class OneKey(HTTPSignatureKeyResolver):
            def resolve_public_key(self, key_id: str) -> Any:
                return key if key_id == known_id else None

            resolve_private_key = resolve_public_key

        return OneKey()


def verifier_of(given: Mapping[str, str]) -> Signatures:
    """The verifier for `verify` of `aorch.agents.serve`, which has the keys of `sign`. Raises UsageError."""
    try:
        found = Signatures(msgspec.convert(dict(given), SignConfig), verifies=True)
    except msgspec.ValidationError as error:
        raise UsageError(f"verify is invalid: {error}", "Its keys are key_env, key_id and algorithm.") from error
    if problem := found.problem():
        raise UsageError(f"requests cannot be verified: {problem}", "Correct verify, or the variable.")
    return found

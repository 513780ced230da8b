"""Redaction: secrets are replaced before anything about a task is written, logged or answered.

Secrets are the values of parameters that a capability's schema marks with `"writeOnly": true`, and what the presets and patterns
of `[redact]` find. The agent gets the task as it is. The ledger gets `{"redacted": "hmac:…"}` for a secret parameter, `***` for
its value anywhere else, and `[redacted hmac:…]` for what a pattern finds. A REQUEST with such a value names the places in its
metadata (`redacted`), and cannot be queued or run again, because the value is not in the ledger.
"""

import hmac
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from aorch import jsonio
from aorch.agents.parameters import undeclared_in
from aorch.agents.secret_mask import MASK, SHORTEST, is_piece, masked, number_text
from aorch.agents.secret_parameters import without_secrets
from aorch.config import redaction_key
from aorch.config.sections import RedactConfig
from aorch.engine.redaction_patterns import UNFINISHED, compiled
from aorch.engine.streamed_text import Reach, StreamedText, reach_of
from aorch.errors import AorchError, ParametersInvalid
from aorch.ledger.contract_metadata import REDACTED
from aorch.ledger.record import Record
from aorch.ledger.task_keys import CallerKey, SentKey, TaskKey

if TYPE_CHECKING:
    from aorch.engine.task import Outcome, Redaction, Task

HASHED = "hmac:"
"""The beginning of a keyed hash."""
_DIGITS = 32
_IN_TEXT = 16
"""Hexadecimal digits of a hash: of a parameter, and in a text."""
_CALLERS_OWN = ("context", "custom")
"""The entries in the metadata of a REQUEST that its caller gave."""
_PERCENT = re.compile("%[0-9A-F]{2}")
SHORTEST_LINE = 8
"""Minimum length of a line of a secret that is masked by itself."""


class Redactor:
    """The patterns and the key of a configuration. The key is read, or created, when something is redacted first.

    Raises ConfigInvalid for an invalid pattern.
    """

    def __init__(self, config: RedactConfig) -> None:
        self._patterns = compiled(config.presets, config.patterns)
        self._reach = max(map(reach_of, config.patterns), default=Reach.WORD)
        self._unfinished = [UNFINISHED[name] for name in config.presets if name in UNFINISHED]
        self._key_file = None if config.key_file is None else Path(config.key_file)
        self._key: bytes | None = None

    def key(self) -> bytes:
        """The key, which is read or created at the first call. Raises ConfigInvalid if that is impossible."""
        if self._key is None:
            self._key = redaction_key.read_key(self._key_file or redaction_key.default_file())
        return self._key

    def hash_of(self, value: Any, digits: int = _DIGITS) -> str:
        """The keyed hash of a JSON value. Raises ConfigInvalid if the key cannot be used."""
        return f"{HASHED}{hmac.new(self.key(), jsonio.encode_bytes(value), 'sha256').hexdigest()[:digits]}"

    def hide(self, value: Any) -> dict[str, str]:
        """What the ledger contains instead of the value of a secret parameter."""
        return {REDACTED: self.hash_of(value)}

    def text(self, text: str) -> str:
        """`text` without what the patterns find."""
        text = jsonio.storable_text(text)
        for substitute in self._patterns:
            text = substitute(lambda found: f"[redacted {self.hash_of(found[0], _IN_TEXT)}]", text)
        return text

    def streamed(self, secrets: Sequence[str]) -> StreamedText:
        """The redaction of a text in pieces, of `secrets` and of what the patterns find."""
        redact = self.text if self._patterns else None
        return StreamedText(secrets, redact, self._reach, self._unfinished)

    @property
    def has_patterns(self) -> bool:
        """Whether it looks for patterns."""
        return bool(self._patterns)


class TaskRedaction:
    """The redaction of one task. `declared` are the parameters in the schemas of its capability, and `secrets` the texts in which
    secret values of the task, and of those that delegated it, may appear.
    """

    def __init__(self, redactor: Redactor, declared: Sequence[dict[str, Any]], secrets: Mapping[str, None]) -> None:
        self._redactor, self._declared, self.secrets = redactor, declared, secrets
        self._longest_first = sorted(secrets, key=len, reverse=True)
        self._streamed = redactor.streamed(self._longest_first)
        self._is_refused = False

    def value(self, value: Any) -> Any:
        """`value` (JSON) without secrets. MASK replaces all of it if it is too deep."""
        value = masked(value, self._longest_first)
        try:
            return self._without_patterns(value) if self._redactor.has_patterns else value
        except RecursionError:
            return MASK

    def progress(self, progress: Any) -> Any:
        """What an agent reports, without secrets. A text in pieces (`{"text": …}`) can split a secret: its possible beginning is
        held back until a later piece (see streamed_text.py).
        """
        return {"text": self._streamed.feed(progress["text"])} if is_piece(progress) else self.value(progress)

    def rest_of_text(self) -> str:
        """What was held back of the text in pieces, which has ended."""
        return self._streamed.end()

    def error(self, error: AorchError) -> AorchError:
        """`error` itself, without secrets in its message and its hints. The task is refused because of it; so parameters that the
        schema does not declare are redacted too: one may be a secret under a misspelt name.
        """
        self._is_refused = True
        error.args = tuple(self.value(each) for each in error.args)
        error.hint, error.http_hint = self.value(error.hint), self.value(error.http_hint)
        return error

    def outcome(self, outcome: "Outcome") -> "Outcome":
        """`outcome` itself, without secrets."""
        outcome.error, outcome.hint = self.value(outcome.error), self.value(outcome.hint)
        outcome.details = _with_own_numbers(self.value(outcome.details), outcome.details)
        if outcome.result_text is not None:
            outcome.result = self.value(outcome.result)
            outcome.result_text = jsonio.encode(outcome.result)
        return outcome

    def request(self, request: Record) -> Record:
        """`request` without secrets. Its metadata names the places of those that an agent would miss."""
        parameters, places = self._parameters(jsonio.decode(request.payload))
        metadata = jsonio.decode(request.metadata)
        hidden = _with_own_numbers(self.value(metadata), metadata)
        places += [name for name in _CALLERS_OWN if hidden.get(name) != metadata.get(name)]
        if places:
            hidden[REDACTED] = places
        return request._replace(payload=jsonio.encode(parameters), metadata=jsonio.encode(hidden))

    def key(self, key: TaskKey | None) -> TaskKey | None:
        """`key`; the hash of a request's body is hashed again with the key, if the body may contain secrets: otherwise anybody
        who has the ledger could try values of a short secret.

        Reads or creates the key, so that a task does not run if that is impossible: raises ConfigInvalid then.
        """
        if self._declared or self._redactor.has_patterns:
            self._redactor.key()
        elif not self.secrets:
            return key
        if isinstance(key, SentKey):
            return key._replace(caller=self._hashed(key.caller))
        return self._hashed(key) if isinstance(key, CallerKey) else key

    def _hashed(self, key: CallerKey) -> CallerKey:
        if key.fingerprint.startswith(HASHED):
            return key
        return key._replace(fingerprint=self._redactor.hash_of(key.fingerprint))

    def reject_in_queue(self, task: "Task") -> None:
        """Raise ParametersInvalid if `task` contains secrets: the queue is the ledger, and the agent would not get them."""
        _, places = self._parameters(task.parameters)
        for name, given in (("context", task.context), ("metadata", task.metadata)):
            places += [name] if self.value(given) != given else []
        if places:
            raise ParametersInvalid(
                f"{places[0]!r} of the task for {task.capability!r} is secret, so it cannot be queued: the queue is the"
                " ledger, which contains no secrets",
                "Run it without --detach.",
                http_hint="Send it to POST /v1/orchestrate.",
            )

    def _parameters(self, parameters: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """`parameters` without secrets, and the places of these."""
        hidden: dict[str, Any] = parameters
        places: list[str] = []
        for declared in self._declared:
            hidden, found = without_secrets(hidden, declared, self._redactor.hide)
            places += [place for place, _ in found if place not in places]
            for name in undeclared_in(declared, parameters) if self._is_refused else ():
                hidden[name] = self._redactor.hide(parameters[name])
                places.append(name)
        known = {place.partition(".")[0] for place in places}
        shown: dict[str, Any] = {}
        for name, item in hidden.items():
            shown[self.value(name)] = without = self.value(item)
            if without != item and name not in known:
                places.append(name)
        return shown, [self.value(place) for place in places]

    def _without_patterns(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redactor.text(value)
        if isinstance(value, dict):
            return {self._without_patterns(key): self._without_patterns(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._without_patterns(item) for item in value]
        if (number := number_text(value)) is None:
            return value
        return value if (text := self._redactor.text(number)) == number else text


def redaction_of(
    redactor: Redactor, task: "Task", declared: Sequence[dict[str, Any]], outer: "Redaction | None"
) -> TaskRedaction:
    """The redaction of `task`: of the parameters that are secret in one of the `declared` schemas, of those of the task whose
    agent delegated it (`outer`), and of what the patterns of `redactor` find.
    """
    values = [value for each in declared for _, value in without_secrets(task.parameters, each, lambda found: found)[1]]
    secrets = dict.fromkeys(form for value in values for form in _forms(value))
    return TaskRedaction(redactor, declared, {**(outer.secrets if outer else {}), **secrets})


def _with_own_numbers(hidden: dict[str, Any], entries: dict[str, Any]) -> dict[str, Any]:
    """`hidden`, which was made of `entries`, with the numbers that are aorch's own, such as exit codes and counts of tokens."""
    for name, item in entries.items():
        if name in _CALLERS_OWN or name not in hidden:
            continue
        if isinstance(item, dict) and isinstance(hidden[name], dict):
            hidden[name].update(
                (each, value) for each, value in item.items() if each in hidden[name] and number_text(value) is not None
            )
        elif number_text(item) is not None:
            hidden[name] = item
    return hidden


def _forms(value: Any) -> Iterator[str]:
    """The texts in which a secret value may appear: as it is, escaped, and encoded. Shorter ones than SHORTEST are left out."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            waiting += [*found.values()]
        elif isinstance(found, list):
            waiting += found
        elif isinstance(found, str):
            yield from (form for form in _of_text(found) if len(form) >= SHORTEST)
        elif (text := number_text(found)) is not None:
            yield from (form for form in {text, text.removesuffix(".0")} if len(form) >= SHORTEST)


def _of_text(text: str) -> Iterator[str]:
    from html import escape  # noqa: PLC0415  only for a task with a secret
    from json import dumps  # noqa: PLC0415  8 ms, likewise

    raw = text.encode("utf-8", "surrogatepass")
    yield from (text, text.strip(), jsonio.storable_text(text))
    yield from (jsonio.encode(text)[1:-1], dumps(text)[1:-1], repr(text)[1:-1], ascii(text)[1:-1])
    yield from (escape(text), escape(text, quote=False), escape(text).replace("&#x27;", "&#39;"))
    for form in (quote(raw), quote(raw, safe=""), quote_plus(raw)):
        yield from (form, _PERCENT.sub(lambda found: found[0].lower(), form))
    yield from (b64encode(raw).decode().rstrip("="), urlsafe_b64encode(raw).decode().rstrip("="))
    yield from (line for line in text.splitlines() if len(line) >= SHORTEST_LINE)

"""What one contract holds, read within bounds: the leaves of its JSON, and whether it speaks, calls or failed."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.memory import text as texts
from aorch.memory.literals import is_name, weight
from aorch.memory.verb_lists import CHANGING, FACTS, FOREIGN_READING, LOOKING, METHODS, READING, SUBCOMMANDS, THINGS

MOST_LEAVES = 50
_MOST_STEPS = 400
_WIDEST = 240
_DEEPEST = 16

Contract = Mapping[str, Any]

_TALK = frozenset(("text", "message", "prompt", "question", "content", "utterance"))
_NO_TALK = frozenset(
    ("command", "cmd", "code", "script", "sql", "query", "expression", "path", "file", "url", "pattern", "args")
)
OPEN = frozenset(("pending", "running", "in_progress", "queued", "accepted", "", "None"))
FINE = OPEN | {"completed"}
_COMMANDS = frozenset(("method", "command", "cmd", "code", "script", "sql", "query", "expression", "statement"))
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_COMMENTS = re.compile(r"\A(?:\s{1,99}|--[^\n]*\n|/\*.*?\*/|\(|#(?!!)[^\n]*\n){1,40}", re.DOTALL)
"""What stands before a statement or a command: comments of SQL and of shells, and brackets."""
_BEFORE = re.compile(r"^(?:(?:sudo|env|time|nice|nohup|[A-Z_]{1,40}=\S{0,200})\s+){1,9}")
_SENDS = re.compile(
    r"\s(?:-X\s?|--request[ =])(?!GET|HEAD)|\s(?:-d|-F|-T|--data\S{0,20}|--json|--form|--upload-file)\b"
)


class Leaf(NamedTuple):
    """A scalar in a contract's JSON: the outermost and innermost key above it, which element of a list it is in, itself.

    `text` is exact as far as it goes; `cut` where there was more.
    """

    top: str
    key: str
    group: int
    text: str
    is_string: bool
    cut: bool

    @property
    def worth(self) -> float:
        """How much it matters that this string survives."""
        if not self.is_string:
            return 0.1
        if " " not in self.text:
            return max(weight(self.text), 0.5 if is_name(self.text) else 0.1)
        return 0.3


def leaves(value: Any, limit: int = MOST_LEAVES) -> list[Leaf]:
    """The first scalars in `value`, in order. Nulls, empty strings and what is nested very deep are passed over."""
    return list(islice((leaf for scalar in _scalars(value) if (leaf := _leaf(*scalar))), limit))


def strings(value: Any) -> list[str]:
    """The texts beneath `value` as much of them as is ever looked at, as far down and along as its scalars are read."""
    found = (item for _, _, _, item in islice(_scalars(value), MOST_LEAVES) if isinstance(item, str))
    return ["\n".join(texts.ends_of(item)) for item in found]


def all_strings(value: Any) -> Iterator[str]:
    """Every text beneath `value`, keys too."""
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            stack += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            stack += item


def _scalars(value: Any) -> Iterator[tuple[str, str, int, Any]]:
    stack = [iter([("", "", 0, value)])]
    for _ in range(_MOST_STEPS):
        if not stack:
            return
        top, key, group, item = next(stack[-1], ("", "", -1, None))
        if group < 0:
            stack.pop()
        elif isinstance(item, Mapping | list | tuple) and len(stack) > _DEEPEST:
            continue
        elif isinstance(item, Mapping):
            stack.append(iter([(top or str(k), str(k), group, v) for k, v in islice(item.items(), MOST_LEAVES)]))
        elif isinstance(item, list | tuple):
            nested = [(top, key, n if len(stack) < 4 else group, v) for n, v in enumerate(item[:MOST_LEAVES])]
            stack.append(iter(nested))
        elif item is not None and item != "":
            yield top, key, group, item


def _leaf(top: str, key: str, group: int, item: Any) -> Leaf | None:
    if isinstance(item, str):
        text = texts.clip(texts.line(item), _WIDEST)
        return Leaf(top, key, group, text, True, len(text) < len(item)) if text else None
    shown = jsonio.encode(item)[:40] if isinstance(item, bool | int | float) else f"{item}"[:40]
    return Leaf(top, key, group, shown, False, False)


def verbs(capability: str) -> list[str]:
    """The words that a capability's name is made of, in lower case."""
    return [word.lower() for word in _WORDS.findall(capability[:80])]


def command(payload: Any) -> tuple[str, str]:
    """What a call's payload says of what it does: its method, command or statement if it has one, and its first text."""
    first = ""
    for _, key, _, item in islice(_scalars(payload), MOST_LEAVES):
        if isinstance(item, str):
            first = first or texts.clip(texts.line(item), _WIDEST)
            if key.lower() in _COMMANDS:
                return texts.clip(texts.line(_COMMENTS.sub("", item[: texts.HEAD])), _WIDEST), first
    return "", first


def changes(capability: str, command: str = "", first: str = "") -> bool | None:
    """Whether a call of that name changes the world (True), only looks (False), or nobody can say.

    An HTTP method says it for sure. A name says it by its first telling word, unless that is a thing as well (`order_status`,
    `log_search`, `exchange_rate`) and the last word says that it looks. A name that says nothing (`run`, `shell`) leaves it to
    the first words of its command or text, and then to its last word (`weather`).
    """
    if (method := METHODS.get(command.lower())) is not None:
        return method
    if capability.lower().startswith(FOREIGN_READING):
        return False
    words = verbs(capability)
    looks = bool(words) and (words[-1] in READING or words[-1] in FACTS)
    for word in words:
        if word in THINGS and looks and word != words[-1]:
            return False
        if word in CHANGING or word in READING:
            return word in CHANGING
    if (stated := _command_changes(command or first, is_command=bool(command))) is not None:
        return stated
    return False if looks else None


def _command_changes(command: str, *, is_command: bool) -> bool | None:
    """As `changes`, by the first words of a command, a statement, a URL's caller or a text."""
    words = _BEFORE.sub("", command).split(maxsplit=2) if is_command else []
    program = words[0].rsplit("/", 1)[-1].lower() if words else ""
    if program == "curl":
        return bool(_SENDS.search(command))
    if program in LOOKING or (
        program in ("git", "docker", "kubectl", "podman") and words[1:2] and words[1] in SUBCOMMANDS
    ):
        return False
    for word in _WORDS.findall(command[:80])[:4]:
        if word.lower() in CHANGING or word.lower() in READING:
            return word.lower() in CHANGING
    return None


def failed(contract: Contract) -> bool:
    """Whether an exchange ended badly: an error, or a status that is none of those of a good or open one."""
    return bool(contract.get("error")) or str(contract.get("status") or "") not in FINE


def speech(value: Any) -> str:
    """What `value` says in words: its only string of several words, where the rest is small and no command; else nothing."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping) or len(value) > 3:
        return ""
    strings = [item for key, item in value.items() if isinstance(item, str) and _is_words(str(key), item)]
    others = [item for item in value.values() if item not in strings and item not in (None, "", [], {})]
    if len(strings) != 1 or any(isinstance(item, Mapping | list) for item in others):
        return ""
    return strings[0]


def _is_words(key: str, text: str) -> bool:
    key = key.lower()
    return key not in _NO_TALK and (" " in text[: texts.HEAD].strip() or (key in _TALK and bool(text)))

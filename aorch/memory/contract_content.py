"""Reads the content of one contract, within limits: the values in its JSON, whether it is natural language, and whether it
failed.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.memory import safe_text
from aorch.memory.literals import is_name, weight

MOST_LEAVES = 50
_MOST_STEPS = 400
WIDEST = 240
_DEEPEST = 16

Contract = Mapping[str, Any]

_TALK = frozenset(("text", "message", "prompt", "question", "content", "utterance"))
_NO_TALK = frozenset(
    ("command", "cmd", "code", "script", "sql", "query", "expression", "path", "file", "url", "pattern", "args")
)
OPEN = frozenset(("pending", "running", "in_progress", "queued", "accepted", "", "None"))
FINE = OPEN | {"completed"}


class Leaf(NamedTuple):
    """A scalar value in the JSON of a contract.

    `top` and `key` are the outermost and the innermost key above it, and `group` is the index of its list element. `text` is an
    exact part of the value; `cut` if the value is longer.
    """

    top: str
    key: str
    group: int
    text: str
    is_string: bool
    cut: bool

    @property
    def worth(self) -> float:
        """How important it is to keep this string, from 0 to 1."""
        if not self.is_string:
            return 0.1
        if " " not in self.text:
            return max(weight(self.text), 0.5 if is_name(self.text) else 0.1)
        return 0.3


def leaves(value: Any, limit: int = MOST_LEAVES) -> list[Leaf]:
    """The first scalars in `value`, in order, without nulls, empty strings and very deeply nested values."""
    return list(islice((leaf for scalar in scalars(value) if (leaf := _leaf(*scalar))), limit))


def strings(value: Any) -> list[str]:
    """The strings among the first scalars in `value`, each shortened to the parts that are read."""
    found = (item for _, _, _, item in islice(scalars(value), MOST_LEAVES) if isinstance(item, str))
    return ["\n".join(safe_text.ends_of(item)) for item in found]


def all_strings(value: Any) -> Iterator[str]:
    """Every string in `value`, including keys."""
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            stack += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            stack += item


def scalars(value: Any) -> Iterator[tuple[str, str, int, Any]]:
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
        text = safe_text.clip(safe_text.first_line(item), WIDEST)
        return Leaf(top, key, group, text, True, len(text) < len(item)) if text else None
    shown = jsonio.encode(item)[:40] if isinstance(item, bool | int | float) else f"{item}"[:40]
    return Leaf(top, key, group, shown, False, False)


def failed(contract: Contract) -> bool:
    """Whether an exchange failed: it has an error, or a status that is neither open nor `completed`."""
    return bool(contract.get("error")) or str(contract.get("status") or "") not in FINE


def speech(value: Any) -> str:
    """The natural-language text in `value`: its only string of several words, if the rest is short and not a command.

    Otherwise empty.
    """
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
    return key not in _NO_TALK and (" " in text[: safe_text.HEAD].strip() or (key in _TALK and bool(text)))

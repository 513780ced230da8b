"""Reads the content of one contract, within limits: the values in its JSON, whether it is natural language, and whether it
failed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.memory import safe_text
from aorch.memory.differences import changed_lines
from aorch.memory.literals import is_name, is_whole, weight

MOST_LEAVES = 50
_MOST_STEPS = 400
WIDEST = 600
_DEEPEST = 16

_FLAT = frozenset((str, int, float, bool, type(None)))
_CONTAINERS = (dict, list, tuple, Mapping)

Contract = Mapping[str, Any]

_TALK = frozenset(
    (
        "text",
        "message",
        "prompt",
        "question",
        "content",
        "utterance",
        "task",
        "instruction",
        "instructions",
        "issue",
        "goal",
    )
)
_NO_TALK = frozenset(
    ("command", "cmd", "code", "script", "sql", "query", "expression", "path", "file", "url", "pattern", "args")
)
_SETTING = frozenset(("system", "system_prompt", "developer"))
"""Keys of system prompts in payloads of chat APIs."""
_BESIDE = 80
"""Characters of what is said beside a text about its circumstances: `context="Shop in Ulm, customer Mara"`."""
_TITLES = frozenset(("message", "title", "subject", "summary", "name"))
"""Keys of what a thing is called by: a commit, a ticket, an e-mail."""
_SENTENCE = 5
"""Number of words from which text is a sentence, even without a full stop."""
_OPTION = re.compile(r"\A[\w./=:-]+ (?:.{0,200} )?-{1,2}[a-zA-Z]", re.ASCII)
"""A command with an option."""
_BEGINNING, _ENDING, _FIRST_LINES = 800, 400, 8
"""Characters of a long value whose lines are read, and the number of its first lines that are kept. The last one is kept too,
because programs print their result last."""
_DECORATION = re.compile(r"^(?:[=\-_*~#|]{3,}|\s{0,8}\d{1,6}[:|](?!\d))|[=\-_*~#|]{3,}$")
_RULE = "=-_*~#|"
_WORD = re.compile(r"\w")
_DATA_START = re.compile(
    r"\s*(?:\d{1,6}[:|\t]|[-dl][rwxsS-]{8}|[|+@}\])#]|[\w./-]+:\d+:|[\w./-]+$|File \"[^\"]+\", line \d"
    r"|(?:import|from|def|class|return|fn|let|const|var|function|package|use|if|for|while|else|try|raise|self)\b.*\W$)"
)
_DATA_ENDS = tuple(";{}\\([,")
_CALL_AT_END, _ASSIGNED, _COLUMNS = re.compile(r"\w\(.*\)$"), re.compile(r"\w = \S"), re.compile(r"\S {3,}\S")
"""What begins a line of code, a table, a listing or output, what ends one, and what is in one."""
_JSON_START = 40
"""Characters that are read of JSON in a string: its values are those of an earlier result, or too many to quote."""
_JSON_STARTS = tuple('"{[]}-0123456789')
_CALLS = re.compile(r"\w\([\w\"')]|\w = \S")
"""Code on a single line: a call or an assignment."""
_FEW_LINES, _DATA_SHARE = 4, 0.5
"""Number of lines from which a text can be data, and the share of them that must look like it."""
_TAG = re.compile(r"</?[\w-]{1,40}>$|<(\w{0,20}code)>0</\1>$")
"""A line that only begins or ends a part of an output, or says that a command succeeded: `<returncode>0</returncode>`."""
_NO_CONTENT = re.compile(rf"(?:index [0-9a-f]{{6,}}|@@ |--- a/|\+\+\+ b/|##+ )|{_TAG.pattern}")
"""Such a line, the header of a difference, or a heading."""
OPEN = frozenset(("pending", "running", "in_progress", "queued", "accepted", "", "None"))
FINE = OPEN | {"completed"}


class Leaf(NamedTuple):
    """A scalar value in the JSON of a contract.

    `top` and `key` are the outermost and the innermost key above it, and `group` is the index of its list element. `text` is an
    exact part of the value; `cut` if the value is longer. `more`: of a value with several lines, those that follow (if `cut`
    only some), up to the last one. `end`: the end of a single line that is cut. `is_new`: its lines are those that an edit or a
    difference of files makes new.
    """

    top: str
    key: str
    group: int
    text: str
    is_string: bool
    cut: bool
    more: tuple[str, ...] = ()
    end: str = ""
    is_new: bool = False

    @property
    def worth(self) -> float:
        """How important it is to keep this string, from 0 to 1."""
        if not self.is_string:
            return 0.1
        if " " not in self.text:
            return max(weight(self.text), 0.5 if is_name(self.text) else 0.1)
        return 0.5 if is_whole(self.text) or self.key.lower() in _TITLES else 0.3


def leaves(value: Any, limit: int = MOST_LEAVES) -> list[Leaf]:
    """The first scalars in `value`, in order, without nulls, empty strings and very deeply nested values."""
    return list(islice((leaf for scalar in scalars(value) if (leaf := _leaf(*scalar))), limit))


def strings(value: Any) -> list[str]:
    """The strings among the first scalars in `value`, each shortened to the parts that are read."""
    return ["\n".join(safe_text.ends_of(item)) for item in whole_strings(value)]


def whole_strings(value: Any) -> Iterator[str]:
    """The strings among the first scalars in `value`."""
    return (item for _, _, _, item in islice(scalars(value), MOST_LEAVES) if isinstance(item, str))


def all_strings(value: Any) -> Iterator[str]:
    """Every string in `value`, including keys."""
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | Mapping):
            stack += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            stack += item


def length(value: Any) -> int:
    """The number of characters of `value` as JSON; 0 if it is nested too deeply for the encoder."""
    try:
        return len(jsonio.encode(value))
    except InvalidJSON:
        return 0


def scalars(value: Any) -> Iterator[tuple[str, str, int, Any]]:
    """The first scalars in `value`, each with the outermost and the innermost key above it, and the index of its list element."""
    if type(value) is str:
        return iter([("", "", 0, value)] if value else [])
    if (
        type(value) is dict and len(value) <= MOST_LEAVES and _FLAT.issuperset(map(type, value.values()))
    ):  # most of them
        return iter([(key, key, 0, item) for key, item in value.items() if item is not None and item != ""])
    return _nested_scalars(value)


def _nested_scalars(value: Any) -> Iterator[tuple[str, str, int, Any]]:
    stack = [iter([("", "", 0, value)])]
    steps = _MOST_STEPS
    while stack:
        for top, key, group, item in stack[-1]:
            if not steps:
                return
            steps -= 1
            if type(item) in _FLAT or not isinstance(item, _CONTAINERS):
                if item is not None and item != "":
                    yield top, key, group, item
            elif len(stack) <= _DEEPEST:
                stack.append(_inside(len(stack), top, key, group, item))
                break
        else:
            if not steps:
                return
            steps -= 1
            stack.pop()


def _inside(depth: int, top: str, key: str, group: int, item: Any) -> Iterator[tuple[str, str, int, Any]]:
    """The values in an object or a list, as `scalars` returns them."""
    if type(item) is dict or isinstance(item, Mapping):
        return iter([(top or str(k), str(k), group, v) for k, v in islice(item.items(), MOST_LEAVES)])
    return iter([(top, key, n if depth < 4 else group, v) for n, v in enumerate(item[:MOST_LEAVES])])


def _leaf(top: str, key: str, group: int, item: Any) -> Leaf | None:
    if isinstance(item, str):
        if len(item) > _JSON_START and is_json(item):
            return Leaf(top, key, group, safe_text.clip(safe_text.first_line(item), _JSON_START), True, True)
        if "\n" in item and (changes := changed_lines(item)):
            return Leaf(top, key, group, changes[0], True, True, changes[1:], is_new=True)
        if "\n" in item and (told := telling_lines(item))[0]:
            lines, is_all = told
            return Leaf(top, key, group, lines[0], True, not is_all, lines[1:])
        text = safe_text.clip(safe_text.first_line(item), WIDEST)
        if _TAG.match(text):
            return None
        is_cut = len(text) < len(item) and not item.endswith(text)
        if len(item) <= WIDEST + 3:
            return Leaf(top, key, group, text, True, is_cut) if text else None
        end = item.rstrip()[-WIDEST:]
        one_line = end.isprintable() and len(text) >= WIDEST // 2
        return Leaf(top, key, group, text, True, is_cut, end=end if one_line else "") if text else None
    shown = jsonio.encode(item)[:40] if isinstance(item, bool | int | float) else f"{item}"[:40]
    return Leaf(top, key, group, shown, False, False)


def is_empty(result: Any) -> bool:
    """Whether a result has a form but no value, such as `[]` or `{"found": []}`."""
    return result is not None and result != {} and next(scalars(result), None) is None


def failed(contract: Contract) -> bool:
    """Whether an exchange failed: it has an error, or a status that is neither open nor `completed`."""
    return bool(contract.get("error")) or str(contract.get("status") or "") not in FINE


def telling_lines(text: str) -> tuple[tuple[str, ...], bool]:
    """The first lines of `text` and the last one, without rules, line numbers and the headers of differences, and whether
    these are all of them. A short text has all its lines.
    """
    if len(text) <= _BEGINNING + _ENDING:
        shown = list(_telling(text))
        if len(text) <= WIDEST or len(shown) <= _FIRST_LINES + 1:
            return (*shown,), True
        return (*shown[:_FIRST_LINES], shown[-1]), False
    first, last = list(_telling(text[:_BEGINNING]))[:_FIRST_LINES], list(_telling(text[-_ENDING:]))
    return (*first, *last[1:][-1:]), False


def _telling(text: str) -> Iterator[str]:
    for line in safe_text.lines(text):
        if line[0].isalpha() and line[-1] not in _RULE and not line.startswith("index "):  # most of them
            yield safe_text.clip(line, WIDEST)
        elif (bare := _DECORATION.sub("", line).strip()) and _WORD.search(bare) and not _NO_CONTENT.match(bare):
            yield safe_text.clip(bare, WIDEST)


def speech(value: Any) -> str:
    """The natural-language text in `value`: its only string of several words, or the only one under a key such as `text`, if the
    rest is short and not a command; or the last message of a chat. What a system prompt says beside it does not count.

    Otherwise empty.
    """
    if isinstance(value, str):
        return value
    if not (type(value) is dict or isinstance(value, Mapping)):
        return ""
    if isinstance(chat := value.get("messages"), list | tuple) and (message := _last_message(chat)):
        return message
    if len(value) > 3:
        return ""
    if not _SETTING.isdisjoint(value) and len(value) > 1:
        value = {key: item for key, item in value.items() if key not in _SETTING}
    strings = [(str(key), item) for key, item in value.items() if isinstance(item, str) and _is_words(str(key), item)]
    longest = max(map(len, (text for _, text in strings)), default=0)
    if len(strings) > 1:
        strings = [(key, text) for key, text in strings if key.lower() in _TALK]
    if len(strings) != 1 or longest > max(len(strings[0][1]), _BESIDE):
        return ""
    ((key, text),) = strings
    if is_json(text) or (key.lower() not in _TALK and (is_data(text) or _CALLS.search(text[:WIDEST]))):
        return ""
    others = {str(name): item for name, item in value.items() if name != key and item not in (None, "", [], {})}
    if any(isinstance(item, (dict, list, Mapping)) for item in others.values()):
        return ""
    return text if key.lower() in _TALK or (_is_sentence(text) and not _has_command(others)) else ""


def _last_message(messages: Sequence[Any]) -> str:
    """The text of the last message of a chat if an assistant wrote it, and otherwise of the last one of the user."""
    turns = [one for one in messages if isinstance(one, dict | Mapping)]
    roles = ("assistant",) if turns and turns[-1].get("role") == "assistant" else ("user",)
    content = next((one.get("content") for one in reversed(turns) if one.get("role") in roles), "")
    if isinstance(content, list | tuple):  # parts, of which some can be images
        parts = [part.get("text") for part in content if isinstance(part, dict | Mapping)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) and not is_json(content) else ""


def is_data(text: str) -> bool:
    """Whether most lines of a text are code, a table, a listing or output, and so no speech."""
    if changed_lines(text):
        return True
    lines = [line for line in text[: safe_text.HEAD].split("\n") if line.strip()]
    return len(lines) >= _FEW_LINES and sum(map(_is_data_line, lines)) >= _DATA_SHARE * len(lines)


def is_json(text: str) -> bool:
    """Whether text looks like an object or a list in JSON on one line, which nobody reads."""
    bare = text.strip()
    if "\n" in bare or (bare[:1], bare[-1:]) not in (("{", "}"), ("[", "]")):
        return False
    return bare[1:].lstrip()[:1] in _JSON_STARTS


def is_json_start(leaf: Leaf) -> bool:
    """Whether a value is only the start of JSON."""
    return leaf.cut and leaf.text[:1] in ("{", "[") and not leaf.more


def is_code(line: str) -> bool:
    """Whether a line is code, a row of a table, or output."""
    return _is_data_line(line) or ((" = " in line or "(" in line) and bool(_CALLS.search(line)))


def _is_data_line(line: str) -> bool:
    ending = line.rstrip()[-1:]
    return bool(
        _DATA_START.match(line)
        or ending in _DATA_ENDS
        or (ending == ")" and _CALL_AT_END.search(line))
        or (" = " in line and _ASSIGNED.search(line))
        or ("   " in line and _COLUMNS.search(line))
    )


def _has_command(others: Mapping[str, Any]) -> bool:
    """Whether a text is only the reason that an agent gives for a command."""
    return any(name.lower() in _NO_TALK for name in others)


def _is_sentence(text: str) -> bool:
    """Whether text is a sentence rather than an argument or a command."""
    beginning = text[: safe_text.HEAD].strip()
    if _OPTION.search(beginning[:WIDEST]):
        return False
    return beginning.endswith((".", "!", "?", "。", "！", "？")) or safe_text.word_count(beginning) >= _SENTENCE


def _is_words(key: str, text: str) -> bool:
    key = key.lower()
    return key not in _NO_TALK and (" " in text[: safe_text.HEAD].strip() or (key in _TALK and bool(text)))

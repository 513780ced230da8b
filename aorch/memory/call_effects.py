"""Decides whether a call changes something or only reads, by its name or its command."""

import re
from functools import lru_cache
from itertools import islice
from typing import Any

from aorch.memory import safe_text
from aorch.memory.contract_content import MOST_LEAVES, WIDEST, scalars

_CHANGING = """
    abort accept activate add amend append apply approve archive assign attach authorize backup ban block book build
    bump buy cancel change charge checkout chmod chown claim clean cleanup clear close commit configure confirm
    convert copy cp create deactivate decrement deduct delete deny deploy destroy disable drop edit email emit
    enable enqueue escalate exchange export fix flush forward grant import increment init insert install invite
    invoke issue kill launch link lock log mark merge migrate mkdir modify mount move mutate mv notify open order
    overwrite patch pause pay pin post promote provision publish purchase purge push put queue reassign rebook
    reboot record redeploy refund register reject release remove rename renew reopen replace reply request
    reschedule reserve reset resize resolve restart restore resume retire return revert revoke rm roll rollback
    rollout rotate save scale schedule seed sell send set ship sign start stop store submit subscribe suspend swap
    switch sync tag terminate toggle train transfer trigger truncate unassign unblock undo uninstall unlock unmount
    unset unsubscribe update upgrade upload upsert void withdraw write
"""
_READING = """
    analyse analyze answer ask assist browse calculate cat chat check classify compare complete compute count
    describe diff display echo embed estimate evaluate examine explain extract fetch filter find generate get grep
    head help inspect investigate lint list load look lookup ls measure monitor observe parse peek ping plan poll
    predict preview print profile query read reason recall respond retrieve review say scan score search select show
    solve sort speak stat status suggest summarise summarize tail talk think translate validate verify view wait
    watch whoami goto scroll are can contains count do does exists has have is lint should sleep test tests uppercase was were
"""
_FACTS = """
    availability balance calendar contents description details docs documentation events exists fact facts forecast
    history info information metadata news price prices quote quotes rate rates statistics stats summary time
    version weather wiki wikipedia
"""

_THINGS = """
    archive backup ban block book build cancel change charge claim commit deploy drop email export fix forward
    exchange grant import insert invite invoice issue launch link lock log merge mount move open order patch pay pin
    post publish purchase queue record refund register release reply request reserve reset restore return ship
    sign start stop store submit switch sync tag train transfer upgrade
"""
_LOOKING = """
    awk base64 cal cd cut date df dig du egrep env fgrep file history hostname id jq ldd less lsof man md5sum more netstat nl nm
    nslookup objdump od open goto scroll pgrep ping printenv ps pwd readelf select sha256sum stat strings tail top tree
    type uname uniq uptime w wc which who with xxd zcat zgrep explain describe desc pragma show values
"""
_SUBCOMMANDS = "blame describe diff images info fsck inspect list log logs ls-files ps reflog show status version get"

PAGES = frozenset(
    ("file", "files", "page", "pages", "url", "link", "document", "folder", "directory", "tab", "pdf", "image")
)
"""Things that are opened to read them."""
METHODS = {
    **dict.fromkeys(("get", "head", "options"), False),
    **dict.fromkeys(("post", "put", "patch", "delete"), True),
}
"""Whether an HTTP method changes something (RFC 9110, section 9.2.1)."""
SUBCOMMANDS = frozenset(_SUBCOMMANDS.split())
"""Subcommands of git, docker, kubectl and similar programs that change nothing."""
FACTS = frozenset(_FACTS.split())
"""Things that are looked up: `weather`, `exchange_rate`, `book_details`."""
FOREIGN_READING = (
    "查", "搜", "看", "读", "获取", "列出", "检查", "найти", "получить", "показать", "прочитать", "поиск", "список", "проверить",
)  # fmt: skip
"""Prefixes of Chinese and Russian names of capabilities that only read."""
CHANGING = frozenset(_CHANGING.split())
READING = frozenset(_READING.split())
THINGS = CHANGING & frozenset(_THINGS.split())
"""Changing verbs that are also nouns, so the last word of `order_status` decides."""
_ONLY_CHANGING = CHANGING - THINGS - {"update"}
"""Verbs that change something and are no nouns."""
LOOKING = frozenset(_LOOKING.split())
"""Programs and statements that only read, as the first word of a command."""

STATEMENTS = frozenset(("select", "with", "show", "describe", "desc", "explain", "pragma", "values"))
"""First words of statements of SQL that only read."""
WRITERS = frozenset(("dd", "gunzip", "gzip", "ln", "rmdir", "rsync", "scp", "tee", "touch", "unzip", "xz", "zip"))
"""Programs that write, beside those whose name is a changing verb."""
WITH_SUBCOMMANDS = frozenset(("git", "docker", "kubectl", "podman", "systemctl", "cargo", "npm", "pip"))

COMMANDS = frozenset(("method", "command", "cmd", "code", "script", "sql", "query", "expression", "statement"))
"""Keys of what is executed."""
_KNOWN = CHANGING | READING | LOOKING | STATEMENTS | WRITERS
"""First words of commands whose effect is known."""

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_COMMENTS = re.compile(r"\A(?:\s{1,99}|--[^\n]*\n|/\*.*?\*/|\(|#(?!!)[^\n]*\n){1,40}", re.DOTALL)
"""Text that may precede a statement or a command: comments of SQL and shells, and brackets."""
_BEFORE = re.compile(r"^(?:(?:sudo|env|time|nice|nohup|[A-Z_]{1,40}=\S{0,200})\s+){1,9}")
_STRINGS = re.compile(r"'[^']*'|\"[^\"]*\"")
_PARTS = re.compile(r"\|\|?|&&|;|\n|\s-exec(?:dir)?\s|\bxargs\b(?:\s+-\S+)*")
"""What separates the commands in a line of a shell."""
_WRITES = re.compile(r"(?<![-=<>\d])>{1,2}\s*(?!/dev/null|[&=])[\w/.~$]")
"""A redirection into a file."""
_DELETES = re.compile(r"\s-delete\b")
_LISTS_ARCHIVE = re.compile(r"-?[a-z]*t[a-z]*$|--list$")
_SENDS = re.compile(
    r"\s(?:-X\s?|--request[ =])(?!GET|HEAD)|\s(?:-d|-F|-T|--data\S{0,20}|--json|--form|--upload-file)\b"
)


@lru_cache(512)
def verbs(capability: str) -> tuple[str, ...]:
    """The words of a capability name, in lower case."""
    return tuple([word.lower() for word in _WORDS.findall(capability[:80])])


def command(payload: Any) -> tuple[str, str]:
    """The method, command or statement in a payload (empty if there is none), and the first string in the payload."""
    first = ""
    for _, key, _, item in islice(scalars(payload), MOST_LEAVES):
        if isinstance(item, str):
            first = first or safe_text.clip(safe_text.first_line(item), WIDEST)
            if key.lower() in COMMANDS:
                return safe_text.clip(safe_text.first_line(_COMMENTS.sub("", item[: safe_text.HEAD])), WIDEST), first
    return "", first


def changes(capability: str, command: str = "", first: str = "") -> bool | None:
    """Whether a call changes something (True), only reads (False), or cannot be classified (None).

    An HTTP method is decisive. Otherwise the first known word of the name decides, unless it is also a noun
    (`order_status`, `log_search`, `exchange_rate`) and the last word denotes reading. If the name has no known word (`run`,
    `shell`), the first words of the command or text decide, and then the last word of the name (`weather`).
    """
    if (method := METHODS.get(command.lower())) is not None:
        return method
    if capability.lower().startswith(FOREIGN_READING):
        return False
    words = verbs(capability)
    looks = bool(words) and (words[-1] in READING or words[-1] in FACTS)
    if _finds_and_changes(words):
        return True
    if words[:1] == ("open",) and not PAGES.isdisjoint(words[1:]):
        return False
    for word in words:
        if word in THINGS and looks and word != words[-1]:
            return False
        if word in CHANGING or word in READING:
            return word in CHANGING
    if (stated := _command_changes(command or first, is_command=bool(command))) is not None:
        return stated
    return False if looks else None


def _finds_and_changes(words: tuple[str, ...]) -> bool:
    """Whether a name consists of verbs and ends with one that changes something and is no noun: `search_replace`."""
    return (
        len(words) > 1
        and words[-1] in _ONLY_CHANGING
        and words[0] in READING
        and all(word in CHANGING or word in READING or word in ("and", "or") for word in words)
    )


def _command_changes(command: str, *, is_command: bool) -> bool | None:
    """Like `changes`, for a command, a statement, a curl call or other text.

    A line of several commands (`find … | tar c`, `a && b`) changes something if one of them does.
    """
    if not is_command:
        return _words_change(command)
    if STATEMENTS.issuperset(command.lower().split(maxsplit=1)[:1]):
        return False
    bare = _STRINGS.sub(" _ ", command)
    each = [_program_changes(_BEFORE.sub("", part.strip())) for part in _PARTS.split(bare) if part.strip()]
    if True in each or _WRITES.search(bare):
        return True
    return None if None in each else False


def _program_changes(command: str) -> bool | None:
    """Like `changes`, for one program with its arguments."""
    words = [word.strip("\"'`$(){}") for word in command.split(maxsplit=8)]
    program = words[0].rsplit("/", 1)[-1].lower() if words else ""
    if program == "curl":
        return bool(_SENDS.search(command))
    if program == "tar" and words[1:]:
        return not _LISTS_ARCHIVE.match(words[1])
    if program in WRITERS or (program == "find" and _DELETES.search(command)):
        return True
    if program in LOOKING or (program in WITH_SUBCOMMANDS and _subcommand(words) in SUBCOMMANDS):
        return False
    return _words_change(command)


def runs(command: str) -> bool:
    """Whether a line of a shell runs a program that is not known by name, such as a test, a build or a script."""
    bare = _STRINGS.sub(" _ ", command)
    return any(_is_unknown(_BEFORE.sub("", part.strip())) for part in _PARTS.split(bare) if part.strip())


def _is_unknown(command: str) -> bool:
    words = [word.strip("\"'`$(){}") for word in command.split(maxsplit=8)]
    program = words[0].rsplit("/", 1)[-1].lower() if words else ""
    if program in WITH_SUBCOMMANDS:
        return _subcommand(words) in ("run", "test")
    return bool(program) and program not in _KNOWN


def _subcommand(words: list[str]) -> str:
    """The first word after a program that is no option: `log` in `git -C /srv/app log`."""
    rest = iter(words[1:])
    for word in rest:
        if word in ("-C", "-c", "-n", "--namespace", "--context"):
            next(rest, "")
        elif not word.startswith("-"):
            return word
    return ""


def _words_change(command: str) -> bool | None:
    """Like `changes`, for the first words of a text."""
    for word in _WORDS.findall(command[:80])[:4]:
        if word.lower() in CHANGING or word.lower() in READING:
            return word.lower() in CHANGING
    return None

"""The `--help` pages: usage, description, examples, options in groups, exit codes, and the page of the documentation."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

WIDEST, NARROW = 80, 60
"""Maximum width of a page. On pages narrower than NARROW, the help of an option is below it."""
LONGEST_LABEL = 24
"""Maximum length of a label; the help of a longer one is on the next line."""
OPTIONS, GLOBAL_OPTIONS = "Options", "Global options"
_HIDDEN = {"show_completion"}
"""Options of Typer that an aorch command replaces: `aorch completion`."""
DOCS = {
    "run": "batches",
    "log": "log",
    "sessions": "log",
    "query": "ledger",
    "contracts erase": "erasure",
    "ledger": "ledger",
    "ledger prune": "retention",
    "otel": "otel",
    "agents": "agents",
    "contracts": "ledger",
    "compress": "memory",
    "mcp": "mcp",
    "memory": "memory",
    "queue": "queue",
    "worker": "queue",
    "serve": "serve",
    "stats": "stats",
    "tokens": "serve",
    "trace": "trace",
    "ui": "ui",
    "init": "configuration",
    "config": "configuration",
}
"""The page of the documentation for each command (default: cli)."""
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")

Rows = list[tuple[str, str]]


class HelpPage(NamedTuple):
    """The parts of a page. `sections` are titles with rows of label and help."""

    usage: str
    paragraphs: list[str]
    examples: list[str]
    sections: list[tuple[str, Rows]]
    epilog: str
    docs: str


def help_page(command: Any, ctx: Any) -> HelpPage:
    """The help of `command`."""
    paragraphs, examples = _split(command.help or "")
    sections: dict[str, Rows] = {}
    if hasattr(command, "summaries"):
        sections["Commands"] = [(name, first_sentence(text)) for name, text in command.summaries(ctx)]
    for title in ("Arguments", OPTIONS):
        sections[title] = []
    for parameter in command.get_params(ctx):
        if not getattr(parameter, "hidden", False) and parameter.name not in _HIDDEN:
            title, label = _title_and_label(parameter, ctx)
            sections.setdefault(title, []).append((label, parameter.help or ""))
    last = sections.pop(GLOBAL_OPTIONS, [])
    return HelpPage(
        re.sub(r"[{}]", "", " ".join((ctx.command_path, *command.collect_usage_pieces(ctx)))),  # Typer writes {NAME}
        paragraphs,
        examples,
        [(title, rows) for title, rows in [*sections.items(), (GLOBAL_OPTIONS, last)] if rows],
        command.epilog or "",
        _docs_of(ctx.command_path.partition(" ")[2]),
    )


def help_text(command: Any, ctx: Any) -> str:
    """The help of `command` for the width of the terminal."""
    from aorch.cli.streams import has_colors

    page = help_page(command, ctx)
    columns = min(shutil.get_terminal_size().columns, WIDEST)
    bold = (lambda text: f"\033[1m{text}\033[0m") if has_colors(sys.stdout) else str
    usage = textwrap.wrap(f"Usage: {page.usage}", columns, subsequent_indent="         ", break_on_hyphens=False)
    blocks = ["\n".join(usage).replace("Usage:", bold("Usage:"), 1)]
    blocks += [_wrap(paragraph, columns) for paragraph in page.paragraphs]
    if page.examples:
        blocks.append("\n".join([bold("Examples:"), *(_example(line, columns) for line in page.examples)]))
    for title, rows in page.sections:
        blocks.append("\n".join([bold(f"{title}:"), *_table(rows, columns)]))
    if page.epilog:
        blocks.append(_wrap(page.epilog, columns))
    blocks.append(_wrap(f"Documentation: aorch help --docs {page.docs}", columns))
    return "\n\n".join(blocks) + "\n"


def _docs_of(command: str) -> str:
    """The page of the documentation about `command`, or about the group in which it is."""
    return DOCS.get(command) or DOCS.get(command.partition(" ")[0], "cli")


def first_sentence(text: str) -> str:
    """The first sentence of `text`, without its full stop."""
    paragraph = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return re.split(r"\.(?:\s|$)", paragraph, maxsplit=1)[0]


def _split(text: str) -> tuple[list[str], list[str]]:
    """The paragraphs of a help text, and the commands below `Examples:`."""
    paragraphs: list[str] = []
    examples: list[str] = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.strip("\b\n").splitlines()
        if lines and re.fullmatch(r"Examples?:", lines[0].strip()):
            examples += [line.strip() for line in lines[1:]]
        elif lines:
            paragraphs.append(" ".join(line.strip() for line in lines))
    return paragraphs, examples


def _title_and_label(parameter: Any, ctx: Any) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        return "Arguments", re.sub(r"[][]", "", parameter.make_metavar(ctx))
    title = getattr(parameter, "rich_help_panel", None) or OPTIONS
    if parameter.name in ("config", "ledger", "no_color", "help", "version", "install_completion"):
        title = GLOBAL_OPTIONS
    names = ", ".join(sorted(parameter.opts, key=len))
    if parameter.secondary_opts:
        names += f", {', '.join(parameter.secondary_opts)}"
    is_flag = parameter.is_flag or parameter.count or parameter.name == "install_completion"
    return title, names if is_flag else f"{names} {parameter.metavar or parameter.make_metavar(ctx)}"


def _table(rows: Rows, columns: int) -> Iterator[str]:
    if columns < NARROW:
        for label, text in rows:
            yield textwrap.indent(_wrap(label, columns - 2), "  ")
            yield textwrap.indent(_wrap(text, columns - 6), "      ")
        return
    indent = min(max(len(label) for label, _ in rows), LONGEST_LABEL) + 4
    for label, text in rows:
        lines = textwrap.wrap(text, columns - indent, break_on_hyphens=False) or [""]
        if len(label) > indent - 4:
            yield f"  {label}"
        else:
            yield f"  {label:<{indent - 2}}{lines.pop(0)}".rstrip()
        yield from (f"{' ' * indent}{line}" for line in lines)


def _wrap(text: str, columns: int) -> str:
    return textwrap.fill(text, columns, break_on_hyphens=False)


def _example(command: str, columns: int) -> str:
    """The command. If it is longer than the page, it is split into lines that end in a backslash."""
    lines, line = [], " "
    for word in _WORD.findall(command):
        if len(line) > 4 and len(line) + 1 + len(word) > columns - 2:
            lines.append(f"{line} \\")
            line = "     "
        line += f" {word}"
    return "\n".join([*lines, line])

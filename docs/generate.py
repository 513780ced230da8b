"""Generates everything that is checked in and follows from the code: `uv run --group test python docs/generate.py`.

First the statements of the ledger, then the recorded examples of the API, then the pages of docs/. Tests compare
each with the code.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from configuration_page import configuration_page
from http_api import http_page

from aorch.cli.help_page import help_page
from aorch.cli.main import app
from aorch.errors import by_code

HERE = Path(__file__).parent


def cli_page() -> str:
    """Every command with its options."""
    context = typer.Context(app, info_name="aorch", help_option_names=["-h", "--help"])
    return "\n".join(["# Every command", "", *_command(app, context)])


def _command(command: Any, context: Any) -> Iterator[str]:
    """The section of a command, and those of its subcommands."""
    page = help_page(command, context)
    if context.parent:
        yield from (f"{'#' * min(context.command_path.count(' ') + 1, 4)} `{context.command_path}`", "")
    for paragraph in page.paragraphs:
        yield from (_escaped(paragraph), "")
    yield from ("```console", f"$ {page.usage}", "```", "")
    if page.examples:
        yield from ("Examples:", "", "```console", *(f"$ {line}" for line in page.examples), "```", "")
    for title, rows in page.sections:
        yield from (f"{title}:", "", *(f"- `{label}`: {_escaped(text)}" for label, text in rows), "")
    if page.epilog:
        yield from (_escaped(page.epilog), "")
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            yield from _command(found, typer.Context(found, info_name=name, parent=context))


def _escaped(text: str) -> str:
    """Markdown that shows `text`: a star would start emphasis, and an angle bracket a tag."""
    return text.replace("*", r"\*").replace("<", r"\<")


def errors_page() -> str:
    """Every error with its code, exit code and HTTP status."""
    lines = [
        "# Errors and exit codes",
        "",
        "Exit code 0 means success. 130 and 143 mean that a signal ended the command; the contract is `cancelled`. 141 means",
        "that the reader of the output has exited. `metadata.code` of a RESPONSE contains the code of its failure.",
        "",
        "A signal that was ignored when the command started (`nohup`) stays ignored. If standard error cannot be written, the",
        "exit code does not change.",
        "",
        "With `--json`, an error is one line of JSON on standard error, also for invalid options. It has the members `type`,",
        "`detail`, `code` and `hint` of the [API's errors](http-api.md), and `exit_code`. Warnings stay text.",
        "",
        "| code | exit code | HTTP status | meaning |",
        "|---|---|---|---|",
    ]
    for code, error in sorted(by_code().items(), key=lambda item: (item[1].exit_code, item[0])):
        meaning = (
            "A bug in aorch." if code == "internal_error" else " ".join((error.__doc__ or "").split("\n\n")[0].split())
        )
        lines.append(f"| `{code}` | {error.exit_code} | {error.http_status} | {meaning} |")
    return "\n".join(lines) + "\n"


PAGES = {"cli.md": cli_page, "configuration.md": configuration_page, "errors.md": errors_page, "http-api.md": http_page}

if __name__ == "__main__":
    for command in (
        ["-m", "aorch.ledger.generate_statements"],
        ["-m", "aorch.ledger.sqlite.generate_new_ledger"],
        [HERE / "record_http_examples.py"],
    ):
        subprocess.run([sys.executable, *command], check=True)
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")

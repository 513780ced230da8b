"""Write the pages that come from the code: `uv run python docs/generate.py`. A test holds them equal to what this makes."""

import re
import sys
from pathlib import Path

import typer
from configuration_page import configuration_page
from http_api import http_page
from typer.cli import get_docs_for_click

from aorch.cli.main import app
from aorch.errors import by_code

HERE = Path(__file__).parent


def cli_page() -> str:
    """Every command with its options."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="aorch")
    text = get_docs_for_click(obj=command, ctx=context, name="aorch", title="Every command").strip()
    text = "\n".join(line.rstrip().replace("\b", "") for line in text.splitlines()) + "\n"
    return re.sub(r"\n+(Examples?:)\n((?:  .+\n)+)", _fenced, text)


def _fenced(example: re.Match[str]) -> str:
    commands = "".join(f"$ {line.strip()}\n" for line in example[2].splitlines())
    return f"\n\n{example[1]}\n\n```console\n{commands}```\n"


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
        "| code | exit code | HTTP status | meaning |",
        "|---|---|---|---|",
    ]
    for code, error in sorted(by_code().items(), key=lambda item: (item[1].exit_code, item[0])):
        meaning = "A bug in aorch." if code == "internal_error" else (error.__doc__ or "").strip().splitlines()[0]
        lines.append(f"| `{code}` | {error.exit_code} | {error.http_status} | {meaning} |")
    return "\n".join(lines) + "\n"


PAGES = {"cli.md": cli_page, "configuration.md": configuration_page, "errors.md": errors_page, "http-api.md": http_page}

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")

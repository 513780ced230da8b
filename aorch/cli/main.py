"""The command line: one module a command, imported only when that command is used."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from aorch.errors import AorchError, OutputFailed
from aorch.process.signals import set_handler

COMMANDS = {
    "run": "Call an agent by what it can do",
    "agents": "See, add and check agents",
    "contracts": "Read, follow and carry away the ledger",
    "compress": "Make memory blocks of what is new in sessions",
    "memory": "Read, search and verify the memory of sessions",
    "worker": "Do what waits in the queue",
    "serve": "Serve the /v1 API over the same agents and ledger",
    "tokens": "Make and revoke the tokens that callers of the API show",
    "trace": "Deliver contracts to Trace, and see how that stands",
    "status": "Sum up ledger, agents and services",
    "init": "Create an aorch.toml with every setting, commented out",
    "config": "Show, find, edit and trust aorch.toml",
}
"""Each command's module in this package, with its line in `aorch --help`."""

CONFIG_HELP = "Read FILE instead of the aorch.toml found here."

ABOUT = """
Any agent, called by what it can do, with every exchange on record.

\b
Examples:
  aorch run echo text=hi
  cat notes.md | aorch run uppercase text=@-
  aorch contracts list --capability echo
  aorch agents add greet --capability greet -- echo hello {name}
"""


class AorchGroup(TyperGroup):
    """Loads a command when it is used, and turns every AorchError into a sentence on stderr and its exit code."""

    _lists = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help on the group, with each command's line but without loading any."""
        self._lists = True
        super().format_help(ctx, formatter)
        self._lists = False

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands, in the order of the way of one task."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        if self._lists:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name])
        command = typer.main.get_command(import_module(f"aorch.cli.commands.{cmd_name}").app)
        command.name = cmd_name
        from aorch.cli.argument_checks import with_checks

        for each in _leaves(command):
            each.callback = with_checks(each)
            if each.name not in ("init", "trust"):
                each.params.append(_config_option())
        return command

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command, of which some print and exit."""
        with _errors_told():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        if threading.current_thread() is threading.main_thread():
            set_handler(signal.SIGINT, signal.default_int_handler)
        with _errors_told():
            return super().invoke(ctx)


@contextmanager
def _errors_told() -> Iterator[None]:
    """Turn an error of ours into one sentence, its next step, and its exit code."""
    try:
        yield
    except AorchError as error:
        from aorch.cli.render.console import complain

        complain(error)
        if isinstance(error, OutputFailed):
            sys.stdout = None  # what is still buffered would complain again at the end
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        sys.stdout = None
        raise typer.Exit(141) from None  # 128 + SIGPIPE, as of any program whose reader went away


def _leaves(command: Any) -> Iterator[Any]:
    for each in getattr(command, "commands", {}).values():
        yield from _leaves(each)
    if not hasattr(command, "commands"):
        yield command


def _config_option() -> TyperOption:
    """`--config`, which every command but `config` has. Eager, since other options' callbacks may read the configuration."""
    return TyperOption(
        param_decls=["--config"],
        type=str,
        metavar="FILE",
        help=CONFIG_HELP,
        expose_value=False,
        is_eager=True,
        callback=_use_config,
    )


def _use_config(ctx: Any, _: Any, value: str | None) -> None:
    """Name FILE in the environment: `config_file` reads it there, and so does an `aorch` that an agent starts."""
    if value is None:
        return
    from aorch.config import config_file, environment

    before = environment.get(environment.CONFIG)
    if not ctx.resilient_parsing:
        value = str(config_file.named_file(value))
    environment.put(environment.CONFIG, value)
    ctx.call_on_close(lambda: environment.put(environment.CONFIG, before))


app = typer.Typer(
    cls=AorchGroup,
    help=ABOUT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from aorch import __version__

        typer.echo(f"aorch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    config: str | None = typer.Option(None, "--config", metavar="FILE", help=CONFIG_HELP),
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_show_version, help="Show the version and leave."
    ),
) -> None:
    _use_config(ctx, None, config)

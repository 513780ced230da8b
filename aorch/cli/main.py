"""The root command `aorch`: its commands, each imported only when it is used, and how their errors are reported."""

import re
import signal
import sys
import threading
from functools import cache
from importlib import import_module
from inspect import cleandoc
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_install_completion_arguments

from aorch.cli.global_options import CONFIG, NO_COLOR, SERVER, VERSION, apply, json_errors
from aorch.cli.server_commands import server_options
from aorch.cli.typer_classes import AorchCommand, CommandGroup, leaves
from aorch.errors import AorchError, OutputFailed, UsageError
from aorch.ledger import upgrade_notice
from aorch.process.signals import Interrupted, is_interrupt, set_handler

COMMANDS = {
    "run": "Run a task by capability",
    "log": "List exchanges with their results and errors, or show one",
    "sessions": "List sessions, and show one as a timed tree or a diagram",
    "rerun": "Run a recorded task again, as a new one",
    "query": "Query the ledger with SQL, read only",
    "contracts": "List, follow, export, import and erase contracts",
    "agents": "List, add and check agents",
    "status": "Show a summary of the ledger, agents and services",
    "stats": "Count exchanges, with durations, tokens and cost",
    "queue": "Show queued, scheduled and running tasks",
    "worker": "Run queued tasks",
    "serve": "Serve the HTTP API (/v1) and the live page",
    "ui": "Open the live page in a browser",
    "mcp": "Offer capabilities as tools to an MCP host",
    "compress": "Summarise sessions in memory blocks",
    "memory": "Show, search and verify the memory of sessions",
    "trace": "Deliver contracts to Trace and show the delivery status",
    "otel": "Export spans to an OpenTelemetry receiver",
    "ledger": "Back up, check, prune and measure the ledger",
    "tokens": "Create, list and revoke API tokens",
    "login": "Check and store the token for a server",
    "logout": "Remove the stored token for a server",
    "whoami": "Show the server that commands use, and the rights there",
    "init": "Create an aorch.toml with every setting, commented out",
    "config": "Show, find, edit and trust aorch.toml",
    "plugins": "Install and list packages with agents",
    "completion": "Print the completion script for a shell",
    "help": "Show the help of a command, or a page of the documentation",
}
"""Each module in `commands`, with its line in `aorch --help`; the most frequently used command first."""

ERRORS = (AorchError, typer.TyperException, KeyboardInterrupt, BrokenPipeError)
"""The exceptions that end a command with a report and an exit code."""

ABOUT = """
Run any agent by capability, and keep a record of every call.

\b
Examples:
  aorch run echo text=hi
  cat notes.md | aorch run uppercase text=@-
  aorch log --failed
  aorch agents add greet --capability greet -- echo hello {name}
"""


class RootGroup(CommandGroup):
    """Imports a command when it is used, and reports each error on stderr with its exit code."""

    _is_listing = False

    def summaries(self, _: Any) -> list[tuple[str, str]]:
        """The commands, without importing them."""
        return list(COMMANDS.items())

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands, the most frequently used first."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command with that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        if self._is_listing:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name])
        return command_named(cmd_name)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The commands that start with `incomplete`, without importing them."""
        self._is_listing = True
        return super().shell_complete(ctx, incomplete)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command, some of which print something and exit."""
        json_errors.set("--json" in (args[: args.index("--")] if "--" in args else args))
        try:
            left = super().parse_args(ctx, args)
            if ctx.params.pop("version") and not ctx.resilient_parsing:
                from aorch import __version__

                typer.echo(f"aorch {__version__}")
                raise typer.Exit
            apply(ctx)
        except ERRORS as error:
            raise _reported(error) from error
        return left

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command. Raises UsageError, which names similar commands."""
        if args[0] in COMMANDS:
            return args[0], command_named(args[0]), args[1:]
        if not args[0].startswith("-") and not ctx.resilient_parsing:
            from aorch.suggestions import did_you_mean

            hint = f"{did_you_mean(args[0], COMMANDS, most=1)}`aorch --help` lists the commands."
            raise UsageError(f"no such command {args[0]!r}", hint)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        if threading.current_thread() is threading.main_thread():
            set_handler(signal.SIGINT, signal.default_int_handler)
        upgrade_notice.watchers[:] = [_warn]
        try:
            return super().invoke(ctx)
        except BaseException as error:
            if isinstance(error, ERRORS) or is_interrupt(error):
                raise _reported(error) from error
            raise


def _warn(text: str) -> None:
    from aorch.cli.render.console import warn

    warn(text)


@cache
def command_named(name: str) -> Any:
    """The command of COMMANDS with that name, imported and built when it is first used."""
    from aorch.cli.options import expand_groups

    commands = import_module(f"aorch.cli.commands.{name}").app
    commands.info.cls = CommandGroup
    for info in commands.registered_commands:
        if info.cls in (None, TyperCommand):
            info.cls = AorchCommand
        if info.callback is not None:
            info.callback = expand_groups(info.callback)
    command: Any = get_command(commands)
    command.name = name
    for each in leaves(command) if hasattr(command, "commands") else (command,):
        each.params += [NO_COLOR] if each.name in ("init", "trust") else [CONFIG, NO_COLOR]
        each.params += server_options(name, each.name)
    return command


def _reported(error: BaseException) -> typer.Exit:
    """Print one of ERRORS, with its hint. Returns the Exit with its exit code."""
    if is_interrupt(error):
        from aorch.cli.streams import drop_buffered_output

        drop_buffered_output()
        return typer.Exit(128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT))
    if isinstance(error, BrokenPipeError):
        sys.stdout = None
        return typer.Exit(141)  # 128 + SIGPIPE, as for any program whose reader closed the pipe
    from aorch.cli.render.console import complain

    known = error if isinstance(error, AorchError) else _usage_error(error)
    complain(known)
    if isinstance(error, OutputFailed):
        sys.stdout = None  # otherwise Python writes the buffer again at exit, and fails again
    return typer.Exit(known.exit_code)


def _usage_error(error: Any) -> UsageError:
    """An argument error of Typer as a UsageError."""
    message = re.split(r" \(Possible options: |\. Did you mean ", error.format_message())[0].rstrip(".")
    message = re.sub(r"a valid float( range)?", "a number", message)
    message = re.sub(r"a valid int(eger)?( range)?", "an integer", message)
    message = re.sub(r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)$", r"unexpected argument '\1'", message)
    message = re.sub(r"not in the range x>=(\S+)$", r"less than \1", message)
    message = re.sub(r"not in the range (\S+)<=x<=(\S+)$", r"not between \1 and \2", message)
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "aorch"
    shows = "lists the commands" if context and hasattr(context.command, "commands") else "shows the usage"
    similar = _similar(message, context.command) if context else ""
    return UsageError(f"{message[:1].lower()}{message[1:]}", f"{similar}`{path} --help` {shows}.")


def _similar(message: str, command: Any) -> str:
    """`Did you mean NAME? `, if `message` names an option or a subcommand that `command` does not have."""
    unknown = re.match(r"No such (?:option: |command ')(.*?)'?$", message)
    if unknown is None:
        return ""
    from aorch.suggestions import did_you_mean

    options = (each for parameter in command.params for each in parameter.opts + parameter.secondary_opts)
    names = command.commands if message.startswith("No such command") else [x for x in options if x.startswith("--")]
    return did_you_mean(unknown[1], names, most=1)


app = RootGroup(
    name="aorch",
    params=[CONFIG, SERVER, NO_COLOR, VERSION, *get_install_completion_arguments()],
    help=cleandoc(ABOUT),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
"""The command `aorch`. `RootGroup.parse_args` applies its options."""

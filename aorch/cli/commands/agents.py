"""`aorch agents`: list, show, add, remove and check agents."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperOption

from aorch.cli.agent_listing import AgentListing, show_agents
from aorch.cli.listing import print_listing
from aorch.cli.options import JsonOption
from aorch.cli.service_source import local_agents, open_service
from aorch.cli.shell_completion import complete_agents
from aorch.cli.streams import set_aside
from aorch.cli.typer_classes import AorchCommand

if TYPE_CHECKING:
    from pathlib import Path

    from aorch.agents.agent_kind import AddOption, AddRequest
    from aorch.agents.refreshable import RefreshableAgent
    from aorch.agents.registry import Registry
    from aorch.config.settings import Config

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, add, remove and check agents.")

AgentArgument = Annotated[str, typer.Argument(metavar="ID", help="ID of the agent.", autocompletion=complete_agents)]
CapabilityOption = Annotated[
    list[str] | None,
    typer.Option("--capability", "-c", metavar="NAME", help="Capability of the agent; repeatable."),
]


class AddCommand(AorchCommand):
    """`agents add`, which has the options of all kinds of agents in addition to its own."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters of the function, then the options of the kinds."""
        return [*super().get_params(ctx), *self._of_kinds()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; an option with an optional value has none if another option or `--` follows."""
        optional = {option.flag for option in self._options() if option.optional}
        given = []
        for position, argument in enumerate(args):
            if argument == "--":
                given += args[position:]
                break
            has_value = position + 1 < len(args) and not args[position + 1].startswith("-")
            given.append(f"{argument}=" if argument in optional and not has_value else argument)
        return super().parse_args(ctx, given)

    def invoke(self, ctx: Any) -> Any:
        """Call the function. Options of the kinds that were given are in `ctx.meta["add"]`."""
        from aorch.cli.argument_checks import check

        given = {}
        for option in self._of_kinds():
            value = ctx.params.pop(option.name)
            for each in value if isinstance(value, tuple | list) else (value,):
                check(option, each)
            if not (value is None or value is False or value in ((), [])):
                given[option.name] = value
        ctx.meta["add"] = given
        return super().invoke(ctx)

    @staticmethod
    def _options() -> "list[AddOption]":
        from aorch.agents import kinds

        return [option for kind in kinds.all_kinds() for option in kind.options]

    @staticmethod
    def _of_kinds() -> list[TyperOption]:
        from aorch.agents import kinds

        return [
            TyperOption(
                param_decls=[option.flag, option.name],
                type=None if option.type is bool else option.type,
                is_flag=option.type is bool or None,
                metavar=option.metavar,
                help=option.help,
                multiple=option.multiple or option.pairs,
                rich_help_panel=f"Options of {kind.title}",
            )
            for kind in kinds.all_kinds()
            for option in kind.options
        ]


@app.command("list")
def list_(listing: AgentListing) -> None:
    """List all agents with their kind, status and capabilities.

    \b
    Examples:
      aorch agents list
      aorch agents list --json
      aorch agents list --fields agent_id,status,problem
    """
    with open_service(None) as service:
        agents = service.agents()
    print_listing(listing, agents, show_agents, total=len(agents))


@app.command()
def show(agent_id: AgentArgument, json: JsonOption = False) -> None:
    """Show one agent: its status, its capabilities and their parameters.

    \b
    Example:
      aorch agents show agent_example_001
    """
    from aorch.cli.render.console import print_json, print_text

    with open_service(None) as service:
        agent = service.agent(agent_id)
    if json:
        return print_json(agent)
    print_text("\n".join(_described(agent)))


@app.command(cls=AddCommand)
def add(
    ctx: typer.Context,
    agent_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="ID of the agent; a Python class sets its own.")
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- PROGRAM ARGUMENT...]", help="Program; {name} is replaced by that parameter."),
    ] = None,
    capability: CapabilityOption = None,
    description: Annotated[
        str, typer.Option("--description", metavar="TEXT", help="Description of the capability.")
    ] = "",
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=TYPE", help="Parameter, such as text=string; repeatable."),
    ] = None,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="Time limit of a task in seconds (default: 600)."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="N", help="Number of tasks that the agent runs at once.")
    ] = None,
) -> None:
    """Add a program, Python class, HTTP endpoint, model or MCP server to aorch.toml.

    \b
    Examples:
      aorch agents add greet --capability greet -- echo hello {name}
      aorch agents add wc --capability count_words --param text=string --stdin '{text}' -- wc -w
      aorch agents add grep --capability search --ok-exit-code 1 -- grep -rn -e {pattern} .
      aorch agents add --class my_agents:MyAgent
      aorch agents add translate --url https://agents.example/translate --capability translate
      aorch agents add summarize --llm openai/MODEL --prompt 'Summarize: {text}'
      aorch agents add git --mcp -- uvx mcp-server-git
      aorch agents add --mcp-config .mcp.json
    """
    from aorch.agents import declarations
    from aorch.agents.agent_kind import AddRequest
    from aorch.config import settings

    config = settings.load()
    file = declarations.file_of(config)
    about = _given({"description": description, "parameters": _parameters(param or [])})
    request = AddRequest(
        file.parent,
        agent_id or "",
        words or [],
        {name: dict(about) for name in capability or []},
        _options(ctx.meta["add"]),
        _given({"timeout_s": timeout_s, "concurrency": concurrency}),
    )
    set_aside()
    _add(config, request, file)


def _add(config: "Config", request: "AddRequest", file: "Path") -> None:
    from aorch.agents import declarations
    from aorch.agents.refreshable import RefreshableAgent
    from aorch.cli.render.console import print_text, warn
    from aorch.config import settings

    added = declarations.add(config, request)
    registry = local_agents(settings.load())
    for each in added:
        print_text(f"{each} added to {file}")
        agent = registry.get(each).agent
        problem = _refresh_new(agent) if isinstance(agent, RefreshableAgent) else registry.get(each).check_all()
        if problem:
            warn(f"{each} cannot run tasks yet: {problem}")


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """The options of the kinds, those of KEY=VALUE pairs as objects."""
    from aorch.agents import kinds
    from aorch.cli.parameters_cli import parse_items
    from aorch.errors import UsageError

    pairs = {option.name: option.flag for kind in kinds.all_kinds() for option in kind.options if option.pairs}
    for name, flag in pairs.items():
        for one in given.get(name, ()):
            if "=" not in one:
                raise UsageError(f"{flag} {one} has no value", f"Write {flag} {one}=VALUE.")
    return {name: parse_items(list(value)) if name in pairs else value for name, value in given.items()}


def _parameters(given: list[str]) -> dict[str, Any]:
    """The parameters of a capability from `--param`: names with a type, or (as JSON) a schema."""
    from aorch.agents.parameters import TYPES
    from aorch.cli.parameters_cli import parse_items, split
    from aorch.errors import UsageError

    for one in given:
        if "=" not in one:
            raise UsageError(f"--param {one} has no type", f"Write --param {one}=string.")
        name, separator, kind = split(one)
        if separator == "=" and kind not in TYPES:
            raise UsageError(f"--param {one}: unknown type {kind!r}", f"Write {name}= and one of: {', '.join(TYPES)}.")
    return parse_items(given)


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value not in (None, "", {})}


@app.command()
def remove(agent_id: AgentArgument) -> None:
    """Remove an agent from aorch.toml. Its contracts stay in the ledger.

    \b
    Example:
      aorch agents remove greet
    """
    from aorch.agents import declarations
    from aorch.cli.render.console import print_text
    from aorch.config import settings

    print_text(f"{agent_id} removed from {declarations.remove(settings.load(), agent_id)}")


@app.command()
def refresh(
    agent_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Refresh only this agent.", autocompletion=complete_agents)
    ] = None,
) -> None:
    """Fetch the tools of MCP servers again and write them to aorch.lock, which makes changed tools available.

    \b
    Examples:
      aorch agents refresh files
      aorch agents refresh
    """
    import asyncio

    from aorch.agents.refreshable import RefreshableAgent
    from aorch.cli.render.console import complain, print_text
    from aorch.config import settings
    from aorch.errors import AorchError, UsageError

    registry, failures = local_agents(settings.load()), []
    chosen = [registry.get(agent_id)] if agent_id else list(registry)
    agents = [each.agent for each in chosen if isinstance(each.agent, RefreshableAgent)]
    if agent_id and not agents:
        raise UsageError(f"{agent_id} is not an MCP server", "Only the tools of MCP servers are kept in aorch.lock.")
    for agent in agents:
        try:
            changes = asyncio.run(agent.refresh())
        except AorchError as error:
            failures.append(type(error)(f"{agent.agent_id}: {error}", error.hint))
            continue
        print_text("\n".join(f"{agent.agent_id}: {change}" for change in changes or ["no changes"]))
    for failure in failures[:-1]:
        complain(failure)
    if failures:
        raise failures[-1]


def _refresh_new(agent: "RefreshableAgent") -> str | None:
    """Fetch the capabilities of an agent that was added now and print them. Returns the reason if that fails."""
    import asyncio

    from aorch.cli.render.console import print_text
    from aorch.errors import AorchError

    try:
        asyncio.run(agent.refresh())
    except AorchError as error:
        return f"{error}" + (f" ({error.hint})" if error.hint else "")
    print_text(f"capabilities: {', '.join(each.name for each in agent.get_capabilities())}")
    return None


@app.command()
def check(
    agent_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Check only this agent.", autocompletion=complete_agents)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check that agents can run tasks: programs and directories exist, classes load, schemas are valid, endpoints answer.

    The exit code is 10 if an agent cannot run tasks.

    \b
    Example:
      aorch agents check
    """
    import asyncio

    from aorch import bootstrap
    from aorch.cli.render.console import print_json, print_table
    from aorch.config import settings
    from aorch.errors import AgentFailed

    config = settings.load()
    registry = local_agents(config)
    found = asyncio.run(bootstrap.check_agents(config, registry, [agent_id] if agent_id else None))
    if json:
        rows = [
            {"agent_id": name, "ok": not problem, "problem": problem, "changes": registry.get(name).agent.changes()}
            for name, problem in found.items()
        ]
        print_json({"agents": rows})
    else:
        print_table(
            ("agent", "ok", "problem"),
            [(name, "no" if p else "yes", p or _changed(registry, name)) for name, p in found.items()],
            wrap="problem",
        )
    broken = [name for name, problem in found.items() if problem]
    if broken:
        raise AgentFailed(f"{len(broken)} of {len(found)} agents cannot run tasks: {', '.join(broken)}")


def _changed(registry: "Registry", agent_id: str) -> str:
    changes = registry.get(agent_id).agent.changes()
    return f"changed: {'; '.join(changes)} (aorch agents refresh {agent_id})" if changes else ""


def _described(agent: dict[str, Any]) -> list[str]:
    from aorch import jsonio

    lines = [
        f"{agent['agent_id']}  {agent['name']}",
        f"{agent['kind']}, {agent['status']}: {agent['description']}",
    ]
    if agent["version"]:
        lines.append(f"version: {agent['version']}")
    if agent["labels"]:
        lines.append(f"labels: {', '.join(f'{name}={value}' for name, value in agent['labels'].items())}")
    if agent["env"]:
        lines.append(f"environment variables: {', '.join(agent['env'])}")
    if agent["owner"] is not None:
        until = f"until {agent['lease_ends_at']}" if agent["lease_ends_at"] else "until it is deregistered"
        lines.append(f"registered by {agent['owner'] or 'a client without a token'} {until}")
    if agent["problem"]:
        lines.append(f"problem: {agent['problem']}")
    if agent["changes"]:
        lines.append(f"changed: {'; '.join(agent['changes'])} (aorch agents refresh {agent['agent_id']})")
    for capability in agent["capabilities"]:
        lines += ["", f"{capability['name']}  {capability['description']}".rstrip()]
        if capability["parameters"]:
            lines.append(f"  parameters: {jsonio.encode(capability['parameters'])}")
    return lines

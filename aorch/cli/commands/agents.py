"""`aorch agents`: who can do what."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aorch.cli.options import JsonOption, complete_agents
from aorch.cli.streams import set_aside

if TYPE_CHECKING:
    from aorch.agents.registry import Registry

app = typer.Typer(add_completion=False, no_args_is_help=True, help="See, add and check agents.")

AgentArgument = Annotated[str, typer.Argument(metavar="ID", help="The agent's id.", autocompletion=complete_agents)]


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List all agents with their kind, status and capabilities.

    \b
    Examples:
      aorch agents list
      aorch agents list --json
    """
    from aorch.cli.render.console import print_json, print_table

    agents = [registered.as_dict() for registered in _registry()]
    if json:
        return print_json({"agents": agents, "total": len(agents)})
    rows = [
        (
            a["agent_id"],
            a["kind"],
            a["status"],
            ", ".join(c["name"] for c in a["capabilities"]),
            a["description"],
            ", ".join(a["env"]),
        )
        for a in agents
    ]
    columns = ("agent", "kind", "status", "capabilities", "description", "env")
    print_table(columns, rows, cut="description", drop=("env",))


@app.command()
def show(agent_id: AgentArgument, json: JsonOption = False) -> None:
    """Show one agent: its capabilities, their parameters, and its problem if it has one.

    \b
    Example:
      aorch agents show agent_example_001
    """
    from aorch.cli.render.console import print_json, print_text

    agent = _registry().get(agent_id).as_dict()
    if json:
        return print_json(agent)
    print_text("\n".join(_described(agent)))


@app.command()
def add(
    agent_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The agent's id; a class brings its own.")
    ] = None,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- PROGRAM ARGUMENT...]", help="The program; {name} is a parameter.")
    ] = None,
    class_path: Annotated[str | None, typer.Option("--class", metavar="MODULE:CLASS", help="A Python class.")] = None,
    argument: Annotated[
        list[str] | None, typer.Option("--argument", metavar="KEY=VALUE", help="A keyword argument of the class.")
    ] = None,
    capability: Annotated[
        list[str] | None, typer.Option("--capability", metavar="NAME", help="What it can do.")
    ] = None,
    description: Annotated[str, typer.Option("--description", help="What that is, in a sentence.")] = "",
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="NAME=TYPE", help="A parameter, such as text=string.")
    ] = None,
    stdin: Annotated[
        str | None,
        typer.Option(
            "--stdin", metavar="TEXT", help="What the program reads, such as '{text}'; else the task as JSON."
        ),
    ] = None,
    cwd: Annotated[str | None, typer.Option("--cwd", metavar="FOLDER", help="Where the program runs.")] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="Added to its environment.")
    ] = None,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout-s", metavar="SECONDS", help="Its limit in time.")
    ] = None,
    ok_exit_code: Annotated[
        list[int] | None,
        typer.Option(
            "--ok-exit-code",
            metavar="CODE",
            min=0,
            max=255,
            help="Exit code that is success besides 0, such as 1 of grep.",
        ),
    ] = None,
) -> None:
    """Add an agent to aorch.toml: a program, or a Python class.

    \b
    Examples:
      aorch agents add greet --capability greet -- echo hello {name}
      aorch agents add wc --capability count_words --param text=string --stdin '{text}' -- wc -w
      aorch agents add grep --capability search --ok-exit-code 1 -- grep -rn -e {pattern} .
      aorch agents add --class my_agents:MyAgent
    """
    from aorch.agent_declarations import declare_class, declare_command
    from aorch.cli.parameters_cli import parse_items
    from aorch.cli.render.console import print_text, warn
    from aorch.config import settings

    config = settings.load()
    if class_path:
        _refuse(bool(agent_id or command or capability), "a class brings its own id, capabilities and program")
        given = parse_items(argument or [])
        set_aside()
        agent_id, file = declare_class(config, class_path, given)
    else:
        needed = {"an id": agent_id, "a --capability": capability, "a program after --": command}
        missing = [name for name, given in needed.items() if not given]
        _refuse(bool(missing), f"the agent lacks {' and '.join(missing)}")
        about = {"description": description, "parameters": _parameters(param or [])}
        table: dict[str, Any] = {"command": command, "stdin": stdin, "cwd": cwd, "timeout_s": timeout_s}
        table["env"] = parse_items(env or [])
        table["ok_exit_codes"] = sorted({0, *ok_exit_code}) if ok_exit_code else None
        table["capabilities"] = {name: _given(about) for name in capability or []}
        set_aside()
        file = declare_command(config, agent_id or "", _given(table))
    print_text(f"{agent_id} added to {file}")
    problem = _registry().get(agent_id or "").check_all()
    if problem:
        warn(f"{agent_id} cannot work yet: {problem}")


def _parameters(said: list[str]) -> dict[str, Any]:
    """What `--param` says of a capability's parameters: a type's name, or (as JSON) a schema."""
    from aorch.agents.parameters import TYPES
    from aorch.cli.parameters_cli import parse_items, split
    from aorch.errors import UsageError

    for one in said:
        if "=" not in one:
            raise UsageError(f"--param {one} names no type", f"Write --param {one}=string.")
        name, separator, kind = split(one)
        if separator == "=" and kind not in TYPES:
            raise UsageError(
                f"--param {one}: there is no type {kind!r}", f"Write {name}= and one of: {', '.join(TYPES)}."
            )
    return parse_items(said)


def _refuse(wrong: bool, why: str) -> None:
    from aorch.errors import UsageError

    if wrong:
        raise UsageError(
            why,
            "aorch agents add greet --capability greet -- echo hello {name}, or aorch agents add --class MODULE:CLASS",
        )


def _given(table: dict[str, Any]) -> dict[str, Any]:
    """What was said, of what could be."""
    return {key: value for key, value in table.items() if value not in (None, "", {})}


@app.command()
def remove(agent_id: AgentArgument) -> None:
    """Strike an agent from aorch.toml. Its contracts stay in the ledger.

    \b
    Example:
      aorch agents remove greet
    """
    from aorch.agent_declarations import strike
    from aorch.cli.render.console import print_text
    from aorch.config import settings

    print_text(f"{agent_id} removed from {strike(settings.load(), agent_id)}")


@app.command()
def check(
    agent_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One agent; else all.", autocompletion=complete_agents)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check that agents can work: programs and folders are there, classes load, schemas are schemas.

    Exit code 10 where one cannot.

    \b
    Example:
      aorch agents check
    """
    from aorch.cli.render.console import print_json, print_table
    from aorch.errors import AgentFailed

    registry = _registry()
    chosen = [registry.get(agent_id)] if agent_id else list(registry)
    found = [(registered.agent.agent_id, registry.check(registered)) for registered in chosen]
    if json:
        print_json({"agents": [{"agent_id": name, "ok": not problem, "problem": problem} for name, problem in found]})
    else:
        print_table(
            ("agent", "ok", "problem"), [(name, "no" if p else "yes", p or "") for name, p in found], wrap="problem"
        )
    broken = [name for name, problem in found if problem]
    if broken:
        raise AgentFailed(f"{len(broken)} of {len(found)} agents cannot work: {', '.join(broken)}")


def _registry() -> "Registry":
    """The agents, loaded with standard output set aside: modules print while they are imported, and agents when asked."""
    from aorch import bootstrap
    from aorch.config import settings

    set_aside()
    return bootstrap.registry(settings.load())


def _described(agent: dict[str, Any]) -> list[str]:
    from aorch import jsonio

    lines = [f"{agent['agent_id']}  {agent['name']}", f"{agent['kind']}, {agent['status']}: {agent['description']}"]
    if agent["env"]:
        lines.append(f"environment variables: {', '.join(agent['env'])}")
    if agent["problem"]:
        lines.append(f"problem: {agent['problem']}")
    for capability in agent["capabilities"]:
        lines += ["", f"{capability['name']}  {capability['description']}".rstrip()]
        if capability["parameters"]:
            lines.append(f"  parameters: {jsonio.encode(capability['parameters'])}")
    return lines

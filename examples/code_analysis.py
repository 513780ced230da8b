"""Analyse a Python package, scan it for security problems, and write its documentation.

    python examples/code_analysis.py OUTPUT [--source FOLDER] [--ledger FILE] [--session ID]

Three agents, each asked by what it can do: two Python classes and one program, the scanner bandit. They work on aorch's
own source unless `--source` names another package; the API page is written to OUTPUT/api.md.
"""

import argparse
import ast
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aorch import Agent, AgentCapability, AorchError, Orchestrator
from aorch.agents.agent_kind import CapabilityConfig
from aorch.agents.program import ProgramAgent, ProgramConfig

FOLDER = {"type": "object", "properties": {"folder": {"type": "string"}}, "required": ["folder"]}
FOLDER_TO_FILE = {
    "type": "object",
    "properties": {"folder": {"type": "string"}, "output": {"type": "string"}},
    "required": ["folder", "output"],
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


class AnalysisAgent(Agent):
    """Measures Python source: modules, lines, functions, what is imported."""

    def __init__(self) -> None:
        super().__init__("code_analysis_001", "Code Analysis", "Measures Python source")

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("analyze_code", "Count lines, functions and imports of a Python package", FOLDER)]

    def execute(self, task: dict[str, Any]) -> dict[str, Any]:  # a plain `def` runs in a thread: it may take its time
        lines, modules, imports = 0, 0, Counter[str]()
        functions: list[tuple[int, str]] = []
        for module, text in read_modules(task["parameters"]["folder"]):
            tree = ast.parse(text)
            modules += 1
            lines += len(text.splitlines())
            imports.update(imported_packages(tree))
            functions += [
                (length(node), f"{module}.{node.name}") for node in ast.walk(tree) if isinstance(node, Function)
            ]
        longest = sorted(functions, key=lambda function: (-function[0], function[1]))[:5]
        return {
            "success": True,
            "data": {
                "modules": modules,
                "lines": lines,
                "functions": len(functions),
                "longest_functions": [{"name": name, "lines": count} for count, name in longest],
                "imports": dict(imports.most_common()),
            },
        }


class DocumentationAgent(Agent):
    """Writes a Markdown page of a package's public classes and functions, from their docstrings."""

    def __init__(self) -> None:
        super().__init__("documentation_001", "Documentation", "Writes an API page from docstrings")

    def get_capabilities(self) -> list[AgentCapability]:
        return [AgentCapability("generate_docs", "Write a Markdown API page from docstrings", FOLDER_TO_FILE)]

    def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        folder, output = Path(task["parameters"]["folder"]), Path(task["parameters"]["output"])
        page, undocumented = [f"# {folder.name}"], []
        for module, text in read_modules(folder):
            for heading, name, docstring in sections(module, ast.parse(text)):
                page += [heading, docstring or "*Not documented.*"]
                undocumented += [] if docstring else [name]
        output.write_text("\n\n".join(page) + "\n", encoding="utf-8")
        return {"success": True, "data": {"output": str(output), "undocumented": undocumented}}


# A program as an agent. `{folder}` becomes that parameter, and the JSON that bandit prints becomes the answer's data.
# bandit lies beside the Python that runs this, and that need not be on PATH: hence `sys.executable -m`.
# It exits with 1 where it finds something, which would count as a failed agent: hence `--exit-zero`.
SECURITY_SCAN = ProgramConfig(
    command=[
        sys.executable,
        "-m",
        "bandit",
        "--quiet",
        "--exit-zero",
        "--format=json",
        "--recursive",
        "--",
        "{folder}",
    ],
    name="Security Scan",
    description="bandit, a scanner for Python source",
    capabilities={"security_scan": CapabilityConfig("Find security problems in Python source", FOLDER)},
    timeout_s=120,
)


def read_modules(folder: str | Path) -> Iterator[tuple[str, str]]:
    """Each module below `folder`, as its dotted name and its text."""
    root = Path(folder)
    files = sorted(root.rglob("*.py"))
    if not files:
        raise FileNotFoundError(f"no Python source in {root}")
    for file in files:
        parts = file.relative_to(root.parent).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), file.read_text(encoding="utf-8")


def imported_packages(tree: ast.Module) -> Iterator[str]:
    """The top-level package of each import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def length(node: Function) -> int:
    """Its lines, from `def` to the last."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def sections(module: str, tree: ast.Module) -> Iterator[tuple[str, str, str | None]]:
    """The module, then its public classes and functions: Markdown heading, full name, docstring."""
    yield f"## `{module}`", module, ast.get_docstring(tree)
    for node in tree.body:
        yield from described(module, node, "###")
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for member in node.body:
                yield from described(f"{module}.{node.name}", member, "####")


def described(owner: str, node: ast.stmt, level: str) -> Iterator[tuple[str, str, str | None]]:
    if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
        yield f"{level} `{node.name}{signature(node)}`", f"{owner}.{node.name}", ast.get_docstring(node)


def signature(node: Function | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        return ""
    return f"({ast.unparse(node.args)})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def summary(capability: str, data: dict[str, Any]) -> str:
    """One step's answer in a line."""
    if capability == "analyze_code":
        longest = data["longest_functions"][0] if data["longest_functions"] else {"name": "none", "lines": 0}
        counts = f"{data['modules']} modules, {data['lines']} lines, {data['functions']} functions"
        return f"{counts}; the longest is {longest['name']} ({longest['lines']} lines)"
    if capability == "security_scan":
        found = Counter(problem["issue_severity"].lower() for problem in data["results"])
        return ", ".join(f"{count} {severity}" for severity, count in found.items()) or "nothing found"
    return f"{data['output']}, {len(data['undocumented'])} names without a docstring"


async def analyze(options: argparse.Namespace) -> int:
    folder, output = str(options.source.resolve()), options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    session_id = options.session
    async with Orchestrator(options.ledger) as orchestrator:
        orchestrator.register_agent(AnalysisAgent())
        orchestrator.register_agent(ProgramAgent("security_scan_001", SECURITY_SCAN, orchestrator.config))
        orchestrator.register_agent(DocumentationAgent())

        for capability, parameters in {
            "analyze_code": {"folder": folder},
            "security_scan": {"folder": folder},
            "generate_docs": {"folder": folder, "output": str(output / "api.md")},
        }.items():
            answer = await orchestrator.orchestrate(session_id, {"capability": capability, "parameters": parameters})
            if not answer["success"]:
                print(f"{capability} failed: {answer['error']}", file=sys.stderr)
                return 1
            print(f"{capability:<15}{summary(capability, answer['data'])}")

        print(f"\nContracts of session {session_id}:")
        for contract in await orchestrator.get_contracts(session_id):
            way = f"{contract['from_agent']} → {contract['to_agent']}"
            print(f"{contract['contract_id']}  {contract['contract_type']:<8}  {contract['status']:<9}  {way}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Analyse, scan and document a Python package.")
    parser.add_argument("output", type=Path, help="the folder that api.md is written to")
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1] / "aorch", help="the package's folder")
    parser.add_argument("--ledger", help="the ledger's file (default: as for the `aorch` command)")
    parser.add_argument("--session", default=time.strftime("code_analysis_%Y%m%d_%H%M%S"), help="the session's id")
    try:
        return asyncio.run(analyze(parser.parse_args()))
    except AorchError as error:
        print(f"{error} {error.hint}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

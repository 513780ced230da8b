"""Clean a table of measurements, analyse it, and plot it.

    python examples/data_workflow.py OUTPUT [--table CSV] [--ledger FILE] [--session ID]

The table is the raw one of the Palmer penguins (Horst, Hill and Gorman, 2020; CC0), as the package palmerpenguins
ships it. Three agents hand files on in the folder OUTPUT: penguins.csv, then penguins.png. The one that draws asks the
one that analyses, through the orchestrator, for the figure that it writes beside each species; the ledger shows it.
"""

import argparse
import asyncio
import sys
import time
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from aorch import Agent, AgentCapability, AorchError, Orchestrator

PENGUINS = distribution("palmerpenguins").locate_file("palmerpenguins/data/penguins-raw.csv")
COLUMNS = {"Species": "species", "Culmen Length (mm)": "bill_length_mm", "Culmen Depth (mm)": "bill_depth_mm"}
X, Y = "bill_length_mm", "bill_depth_mm"


def text_parameters(*required: str, **optional: str) -> dict[str, Any]:
    """The JSON Schema of parameters that are all text; `optional` ones each with a description."""
    properties = {name: {"type": "string"} for name in required}
    described = {name: {"type": "string", "description": text} for name, text in optional.items()}
    return {"type": "object", "properties": {**properties, **described}, "required": list(required)}


class DataCleaningAgent(Agent):
    """Keeps what is needed of a raw table, and no row with a gap."""

    def __init__(self) -> None:
        super().__init__("data_cleaning_001", "Data Cleaning", "Makes a raw table fit for analysis")

    def get_capabilities(self) -> list[AgentCapability]:
        schema = text_parameters("table", "output")
        return [AgentCapability("clean_data", "Keep the complete rows of the penguins' raw table", schema)]

    def execute(self, task: dict[str, Any]) -> dict[str, Any]:  # a plain `def` runs in a thread: it may take its time
        parameters = task["parameters"]
        raw = pd.read_csv(parameters["table"])
        clean = raw[list(COLUMNS)].rename(columns=COLUMNS).dropna()
        clean["species"] = clean["species"].str.partition(" ")[0]  # "Adelie Penguin (Pygoscelis adeliae)" → "Adelie"
        clean.to_csv(parameters["output"], index=False)
        data = {"output": parameters["output"], "rows_read": len(raw), "rows_kept": len(clean)}
        return {"success": True, "data": data}


class AnalysisAgent(Agent):
    """Says how bill length and bill depth go together, in all penguins or in one species."""

    def __init__(self) -> None:
        super().__init__("analysis_001", "Analysis", "Correlates the columns of a clean table")

    def get_capabilities(self) -> list[AgentCapability]:
        schema = text_parameters("table", species="only this species; all when it is not given")
        return [AgentCapability("analyze", "Correlate bill length with bill depth", schema)]

    def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        table, species = pd.read_csv(task["parameters"]["table"]), task["parameters"].get("species")
        if species is not None:
            table = table[table["species"] == species]
        if len(table) < 2:
            return {"success": False, "error": f"{len(table)} rows of {species or 'penguins'} are too few"}
        return {"success": True, "data": {"rows": len(table), "correlation": float(table[X].corr(table[Y]))}}


class VisualizationAgent(Agent):
    """Draws one cloud of points a species, each with the correlation that an agent with `analyze` finds in it."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        super().__init__("visualization_001", "Visualization", "Draws a clean table")
        self.orchestrator = orchestrator

    def get_capabilities(self) -> list[AgentCapability]:
        schema = text_parameters("table", "output")
        return [AgentCapability("visualize", "Plot bill depth against bill length, by species, as a PNG", schema)]

    async def execute(self, task: dict[str, Any]) -> dict[str, Any]:
        table, output = task["parameters"]["table"], task["parameters"]["output"]
        birds = await asyncio.to_thread(pd.read_csv, table)
        names = sorted(birds["species"].unique())
        # Asked from here, each of these exchanges has this one as its parent in the ledger. They run at the same time.
        answers = await asyncio.gather(*[self._ask(task["session_id"], table, name) for name in names])
        for answer in answers:
            if not answer["success"]:
                return {"success": False, "error": answer["error"]}
        found = {name: answer["data"] for name, answer in zip(names, answers, strict=True)}
        await asyncio.to_thread(draw, birds, found, output)
        return {"success": True, "data": {"output": output, "species": found}}

    async def _ask(self, session_id: str, table: str, species: str) -> dict[str, Any]:
        parameters = {"table": table, "species": species}
        return await self.orchestrator.orchestrate(session_id, {"capability": "analyze", "parameters": parameters})


def draw(birds: pd.DataFrame, found: dict[str, dict[str, Any]], output: str) -> None:
    """A PNG of 800 × 600 pixels."""
    figure = Figure(figsize=(8, 6), dpi=100)
    axes = figure.subplots()
    for name, data in found.items():
        rows = birds[birds["species"] == name]
        label = f"{name}: {data['rows']} birds, r = {data['correlation']:+.2f}"
        axes.scatter(rows[X], rows[Y], label=label, alpha=0.7)
    axes.set(xlabel="bill length (mm)", ylabel="bill depth (mm)", title="Longer bills are deeper, species by species")
    axes.legend(loc="lower left")
    figure.savefig(output, format="png")


def summary(capability: str, data: dict[str, Any]) -> str:
    """One step's answer in a line."""
    if capability == "clean_data":
        return f"{data['rows_kept']} of {data['rows_read']} rows are complete: {data['output']}"
    if capability == "analyze":
        return f"over all {data['rows']} birds, r = {data['correlation']:+.2f}: longer bills seem to be less deep"
    by_species = ", ".join(f"{name} {one['correlation']:+.2f}" for name, one in data["species"].items())
    return f"within a species the contrary holds ({by_species}): {data['output']}"


async def process(options: argparse.Namespace) -> int:
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    clean, plot = str(output / "penguins.csv"), str(output / "penguins.png")
    session_id = options.session
    async with Orchestrator(options.ledger) as orchestrator:
        orchestrator.register_agent(DataCleaningAgent())
        orchestrator.register_agent(AnalysisAgent())
        orchestrator.register_agent(VisualizationAgent(orchestrator))

        for capability, parameters in {
            "clean_data": {"table": str(options.table), "output": clean},
            "analyze": {"table": clean},
            "visualize": {"table": clean, "output": plot},
        }.items():
            answer = await orchestrator.orchestrate(session_id, {"capability": capability, "parameters": parameters})
            if not answer["success"]:
                print(f"{capability} failed: {answer['error']}", file=sys.stderr)
                return 1
            print(f"{capability:<12}{summary(capability, answer['data'])}")

        print(f"\nContracts of session {session_id}:")
        for contract in await orchestrator.get_contracts(session_id):
            way = f"{contract['from_agent']} → {contract['to_agent']}"
            delegated = "  " if contract["parent_id"] else ""
            print(
                f"{contract['contract_id']}  {contract['contract_type']:<8}  {contract['status']:<9}  {delegated}{way}"
            )
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Clean, analyse and plot a table of penguins.")
    parser.add_argument("output", type=Path, help="the folder that penguins.csv and penguins.png are written to")
    parser.add_argument(
        "--table", type=Path, default=PENGUINS, help="the raw table (default: the one of palmerpenguins)"
    )
    parser.add_argument("--ledger", help="the ledger's file (default: as for the `aorch` command)")
    parser.add_argument("--session", default=time.strftime("data_workflow_%Y%m%d_%H%M%S"), help="the session's id")
    try:
        return asyncio.run(process(parser.parse_args()))
    except AorchError as error:
        print(f"{error} {error.hint}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

"""The data workflow in `examples/`, run as a user runs it, on a real table."""

import csv
import re
import statistics
import struct
from collections import Counter
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from examples_run import (
    assert_completed,
    example,
    exchanges_in,
    finished,
    results_in,
)

pytestmark = pytest.mark.torture  # the examples' own libraries, on real input


def raw_table() -> Path:
    """The table that the examples read, from the package palmerpenguins."""
    return Path(distribution("palmerpenguins").locate_file("palmerpenguins/data/penguins-raw.csv"))


@pytest.fixture(scope="module")
def plotted(clone):
    """The data workflow on the penguins: its process, and its session's contracts."""
    return finished(clone, "data_workflow.py")


def raw_birds() -> list[tuple[str, float, float]]:
    """Species, bill length and bill depth of each bird that was measured, read without pandas."""
    with raw_table().open(newline="") as table:
        return [
            (row["Species"].split()[0], float(row["Culmen Length (mm)"]), float(row["Culmen Depth (mm)"]))
            for row in csv.DictReader(table)
            if "NA" not in (row["Culmen Length (mm)"], row["Culmen Depth (mm)"])
        ]


def correlation(birds: list[tuple[str, float, float]]) -> Any:
    return pytest.approx(statistics.correlation([x for _, x, _ in birds], [y for _, _, y in birds]))


def test_the_data_workflow_leaves_a_completed_exchange_for_each_step_and_each_delegation(plotted):
    assert plotted["process"].returncode == 0  # matplotlib may say on stderr that it collects its fonts
    pairs = exchanges_in(plotted["ledger"])
    asked = [request["capability"] for request, _ in pairs]
    assert asked == ["clean_data", "analyze", "visualize", "analyze", "analyze", "analyze"]
    assert_completed(pairs)


def test_what_the_visualization_agent_asks_for_stands_below_its_own_request(plotted):
    pairs = exchanges_in(plotted["ledger"])
    visualize = next(request for request, _ in pairs if request["capability"] == "visualize")
    below = [request for request, _ in pairs if request["parent_id"]]
    assert {request["parent_id"] for request in below} == {visualize["contract_id"]}
    assert {(request["from_agent"], request["to_agent"]) for request in below} == {
        ("visualization_001", "analysis_001")
    }
    assert sorted(request["payload"]["species"] for request in below) == ["Adelie", "Chinstrap", "Gentoo"]
    assert [request["parent_id"] for request, _ in pairs[:3]] == [None, None, None]


def test_the_clean_table_holds_exactly_the_birds_that_were_measured(plotted):
    with (plotted["folder"] / "out" / "penguins.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    kept = [(row["species"], float(row["bill_length_mm"]), float(row["bill_depth_mm"])) for row in rows]
    assert kept == raw_birds()
    told = results_in(plotted["ledger"])["clean_data"]
    assert (told["rows_read"], told["rows_kept"]) == (344, 342)


def test_the_correlations_are_those_of_the_raw_table(plotted):
    birds, results = raw_birds(), results_in(plotted["ledger"])
    assert results["analyze"] == {"rows": len(birds), "correlation": correlation(birds)}
    species = Counter(name for name, _, _ in birds)
    assert results["visualize"]["species"] == {
        name: {"rows": count, "correlation": correlation([bird for bird in birds if bird[0] == name])}
        for name, count in species.items()
    }


def test_a_delegated_answer_is_what_the_visualization_agent_passes_on(plotted):
    pairs = exchanges_in(plotted["ledger"])
    delegated = {
        request["payload"]["species"]: response["result"] for request, response in pairs if request["parent_id"]
    }
    assert results_in(plotted["ledger"])["visualize"]["species"] == delegated


def test_the_plot_is_a_png_of_800_by_600_with_a_colour_for_each_species(plotted):
    from PIL import Image

    plot = plotted["folder"] / "out" / "penguins.png"
    head = plot.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:]) == (800, 600)
    with Image.open(plot) as image:
        hues = Counter(pixel[0] // 6 for pixel in image.convert("HSV").get_flattened_data() if pixel[1] > 100)
    assert len([hue for hue, pixels in hues.items() if pixels > 500]) >= 3


def test_the_data_workflow_tells_the_figures_that_it_found(plotted):
    assert "r = -0.24" in plotted["process"].stdout
    assert "Adelie +0.39, Chinstrap +0.65, Gentoo +0.64" in plotted["process"].stdout


def test_a_table_that_is_not_there_fails_the_first_step_and_ends_the_workflow(tmp_path):
    process = example(tmp_path, "data_workflow.py", "--table", tmp_path / "nowhere.csv")
    assert process.returncode == 1
    assert re.search(r"^clean_data failed: FileNotFoundError.*nowhere\.csv", process.stderr, re.MULTILINE)
    ((request, response),) = exchanges_in(tmp_path / "data_workflow.py.db")
    assert (request["status"], response["status"]) == ("failed", "failed")


def test_a_species_with_a_single_bird_fails_the_plot_with_the_reason_of_the_agent_it_asked(tmp_path):
    lines = raw_table().read_text().splitlines()
    few = tmp_path / "few.csv"
    few.write_text("\n".join([*lines[:4], next(line for line in lines if "Gentoo" in line)]) + "\n")
    process = example(tmp_path, "data_workflow.py", "--table", few)
    assert process.returncode == 1
    assert "visualize failed: 1 rows of Gentoo are too few\n" in process.stderr
    pairs = exchanges_in(tmp_path / "data_workflow.py.db")
    ended = {request["payload"].get("species", request["capability"]): request["status"] for request, _ in pairs}
    assert ended == {
        "clean_data": "completed",
        "analyze": "completed",
        "visualize": "failed",
        "Adelie": "completed",
        "Gentoo": "failed",
    }
    assert not (tmp_path / "out" / "penguins.png").exists()

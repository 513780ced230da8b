"""`aorch stats`: tables for people, lines for programs, costs by [prices]."""

import json
import re
from typing import get_args

import pytest
from homes import Home
from rows import put, request, response
from terminal import at_terminal, plain

from aorch.cli.commands.stats import By, Sort, StatsListing
from aorch.govern.statistics import BY, FIELDS, SORTS
from aorch.server.schemas.stats import Sort as ApiSort


def fill(home: Home) -> None:
    for number in range(3):
        asked = request(f"session {number}")
        told = {"duration_ms": 10 * number, "model": "m-1", "usage": {"input": 1000, "output": 100, "cached": None}}
        put(home.ledger, asked, response(asked, metadata=json.dumps(told)))
    failed = request(capability="scan", status="failed")
    put(home.ledger, failed, response(failed, None, error="port 80 is in use", metadata='{"duration_ms": 1500}'))


def test_the_command_has_the_properties_and_the_fields_of_the_api() -> None:
    assert (tuple(By), StatsListing.known) == (BY, FIELDS)
    assert tuple(each.value for each in Sort) == SORTS == get_args(ApiSort)


def test_groups_are_sorted_by_a_figure_the_largest_first(home: Home) -> None:
    home.write("aorch.toml", "[prices.m-1]\ninput = 1\noutput = 10\n")
    fill(home)

    def order(figure: str, *options: str) -> list[str]:
        return [line.partition("\t")[0] for line in home.aorch("stats", "--sort", figure, *options).out.splitlines()]

    assert [order(figure) for figure in ("count", "cost")] == [["echo", "scan"]] * 2
    assert [order(figure) for figure in ("p50", "p95", "max", "failed")] == [["scan", "echo"]] * 4
    assert order("wait") == ["echo", "scan"]
    assert order("p95", "-n", "1") == ["scan"]
    assert home.aorch("stats", "--sort", "size").code == 2


def test_a_pipe_gets_lines_and_json_has_everything(home: Home) -> None:
    home.write("aorch.toml", "[prices.m-1]\ninput = 1\noutput = 10\n")
    fill(home)
    assert (
        home.aorch("stats").out == "echo\t3\t0\t10\t20\t20\t\t3000\t300\t0.006\nscan\t1\t1\t1500\t1500\t1500\t\t\t\t\n"
    )
    key, count, at, request_id, error = home.aorch("stats", "--by", "error").out.rstrip("\n").split("\t")
    assert (key, count, error) == ("port <n> is in use", "1", "port 80 is in use")
    assert f"REQUEST {request_id}" in home.aorch("contracts", "show", request_id).out
    found = home.aorch("stats", "--json", "--by", "session", "-n", "2").json
    assert (found["by"], found["more"], found["total"]["count"], len(found["groups"])) == ("session", 2, 4, 2)
    assert at.endswith("Z")


@pytest.mark.parametrize("columns", [40, 160])
def test_a_table_fits_the_terminal_and_says_since_when_it_counts(home: Home, columns: int) -> None:
    fill(home)
    for by in BY:
        lines = plain(at_terminal(home, "stats", "--by", by, columns=columns)).splitlines()
        assert max(map(len, lines)) <= columns
        assert re.search(r"since .* \(24 hours; --since changes it\)$", " ".join(" ".join(lines).split()))
    assert "24 hours" not in at_terminal(home, "stats", "--since", "2d", columns=columns)


def test_a_cost_that_is_not_known_is_not_zero(home: Home) -> None:
    fill(home)
    assert "unknown" in at_terminal(home, "stats", columns=160)
    home.write("aorch.toml", "[prices.m-1]\ninput = 1\noutput = 10\n")
    assert "0.0060" in at_terminal(home, "stats", columns=160)
    asked = request()
    put(home.ledger, asked, response(asked, metadata='{"model": "m-2"}'))
    assert "≥ 0.0060" in at_terminal(home, "stats", columns=160)


@pytest.mark.parametrize(
    "table",
    [
        "[prices.m]\ninput = -1\noutput = 1\n",
        "[prices.m]\noutput = 1\n",
        "[prices.m]\ncost = 1\n",
        "[prices]\nm = 3\n",
        "[prices.m]\ninput=1\noutput=inf\n",
    ],
)
def test_an_invalid_price_is_rejected_with_its_name(home: Home, table: str) -> None:
    home.write("aorch.toml", table)
    done = home.aorch("stats")
    assert (done.code, done.out) == (2, "")
    assert "prices.m" in done.err


def test_empty_statistics_say_so(home: Home) -> None:
    assert "no exchanges since " in at_terminal(home, "stats")
    assert "no failed exchanges since " in at_terminal(home, "stats", "--by", "error")
    assert home.aorch("stats").out == ""

"""How long a command takes to start: `python benchmarks/startup.py [ROUNDS]`.

Every command is a process of its own, from fork to exit; what it prints and what it leaves in the ledger is checked.
"""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from measure import AORCH, PYTHON, Goals, child, interleaved, machine

TWO_COMMANDS = '''
import typer

app = typer.Typer(help="Two commands.")


@app.command()
def hello(name: str, count: int = typer.Option(1, help="How often.")) -> None:
    """Say hello."""
    for _ in range(count):
        typer.echo(f"Hello {name}")


@app.command()
def goodbye(name: str, formal: bool = typer.Option(False, help="With regards.")) -> None:
    """Say goodbye."""
    typer.echo(f"Goodbye {name}")


app()
'''


def main(rounds: int) -> None:
    """Measure, check, print."""
    with machine() as (folder, environment):
        ledger = folder / "ledger.db"
        environment["AORCH_LEDGER"] = str(ledger)
        (folder / "two.py").write_text(TWO_COMMANDS)

        def case(command: list[str], printed: str, **more: str) -> Callable[[], float]:
            def run() -> float:
                done = child(command, folder, environment | more)
                assert printed in done.out, f"{command} printed {done.out!r}"
                return done.seconds

            return run

        run = case([AORCH, "run", "echo", "text=hi"], "Echo: hi\n")
        run()  # creates the ledger
        contract_id = newest_id(ledger)
        medians = interleaved(
            {
                "python": case([PYTHON, "-c", ""], ""),
                "two --help": case([PYTHON, "two.py", "--help"], "Say goodbye."),
                "two goodbye": case([PYTHON, "two.py", "goodbye", "you"], "Goodbye you"),
                "floor": case([PYTHON, "-c", "import typer, sqlmodel"], ""),
                "--help": case([AORCH, "--help"], "Run a task by capability"),
                "run": run,
                "agents list": case([AORCH, "agents", "list"], "agent_example_001"),
                "contracts list": case([AORCH, "contracts", "list"], "\techo\t"),
                "contracts show": case([AORCH, "contracts", "show", contract_id], "Echo: hi"),
                "contracts tail": case([AORCH, "contracts", "tail"], "\techo\t"),
                "status": case([AORCH, "status"], "agents     1"),
                "completion": case(
                    [AORCH], "echo\n", _AORCH_COMPLETE="complete_bash", COMP_WORDS="aorch run ec", COMP_CWORD="2"
                ),
            },
            rounds,
        )
        check_rows(ledger, 1 + 1 + rounds)
    report(medians, rounds)


def newest_id(ledger: Path) -> str:
    """The id of the newest contract."""
    with closing(sqlite3.connect(ledger)) as connection:
        return str(connection.execute("SELECT contract_id FROM contracts ORDER BY position DESC").fetchone()[0])


def check_rows(ledger: Path, runs: int) -> None:
    """Each run left its REQUEST, completed, and its RESPONSE with the answer."""
    count = (
        "SELECT count(*) FROM contracts q JOIN contracts r ON r.request_id = q.contract_id"
        " WHERE q.contract_type = 'REQUEST' AND q.status = 'completed' AND q.payload = '{\"text\":\"hi\"}'"
        " AND r.contract_type = 'RESPONSE' AND r.status = 'completed' AND r.result = '{\"message\":\"Echo: hi\"}'"
    )
    with closing(sqlite3.connect(ledger)) as connection:
        exchanges, rows = (connection.execute(sql).fetchone()[0] for sql in (count, "SELECT count(*) FROM contracts"))
    assert (exchanges, rows) == (runs, 2 * runs), f"{runs} runs left {exchanges} exchanges in {rows} rows"


def report(medians: dict[str, float], rounds: int) -> None:
    """Print each ratio beside its goal."""
    goals = Goals(f"start-up, medians of {rounds} interleaved rounds")
    for name, seconds in medians.items():
        goals.note(name, f"{seconds * 1000:.0f} ms")
    floor = medians["floor"]
    goals.at_most(
        "`aorch --help` / --help of a two-command Typer application", medians["--help"] / medians["two --help"], 1.1
    )
    goals.at_most("`aorch run echo text=hi` / import typer, sqlmodel", medians["run"] / floor, 0.33)
    goals.at_most("`aorch agents list` / import typer, sqlmodel", medians["agents list"] / floor, 0.6)
    goals.at_most("shell completion of a capability / import typer, sqlmodel", medians["completion"] / floor, 0.6)
    for command in ("contracts list", "contracts show", "contracts tail", "status"):
        goals.at_most(f"`aorch {command}` / import typer, sqlmodel", medians[command] / floor, 1.0)
    goals.end()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)

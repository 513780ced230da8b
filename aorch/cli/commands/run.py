"""`aorch run`: run a task by capability, or many tasks from a file."""

from typing import Annotated

import typer

from aorch.cli.options import JsonOption, LedgerOption
from aorch.cli.run_options import BatchOptions, DetachOptions, TaskOptions
from aorch.cli.shell_completion import complete_capabilities, complete_parameters

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Exit code: 0 success, 2 usage error, 5 timed out, 10 the agent failed, 11 no agent available, 14 ledger error, "
    "130 interrupted. For a batch: 0 if all tasks succeeded, the exit code that all failures share (2 if there were only "
    "invalid lines), or 10 if they differ."
)
def run(
    task: TaskOptions,
    queue: DetachOptions,
    batch: BatchOptions,
    capability: Annotated[
        str | None,
        typer.Argument(
            metavar="CAPABILITY",
            help="Capability to run; with --batch, the default for all lines.",
            autocompletion=complete_capabilities,
        ),
    ] = None,
    items: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Parameters of the task.", autocompletion=complete_parameters),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show which agent would run the task, why, and how; run and record nothing."),
    ] = False,
    json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Run a task by capability and record it in the ledger.

    Write a parameter as text=hello, n:=3 (JSON), text=@notes.md (the content of a file), text=@- (standard input) or
    doc:=@data.json (JSON from a file). The result is printed to standard output.

    \b
    Examples:
      aorch run echo text=hi
      cat notes.md | aorch run uppercase text=@- --session review
      aorch run echo --params '{"text": "hi"}' --timeout 30 --json
      aorch run uppercase text=hi | aorch run echo text=@-
      aorch run echo text=hi --dry-run
      aorch run echo text=hi --detach --priority 1 --not-before 2h
      aorch run --batch tasks.jsonl --parallel 32 > results.jsonl
      aorch run --batch tasks.jsonl --resume > results.jsonl
      aorch run uppercase text={body} --batch mails.csv --csv
      aorch run --retry-failed review
    """
    many = batch.batch is not None or batch.retry_failed is not None
    if dry_run or queue != DetachOptions():
        queue.check(many, dry_run)
    if capability is None or batch != BatchOptions():
        batch.check(capability, task)
    if many:
        from aorch.cli.batch_run import run_batch

        raise typer.Exit(run_batch(capability, items or [], task, batch, ledger))
    from aorch.cli.task_run import read_queue_options, read_task
    from aorch.cli.task_target import open_target

    asked = read_task(capability or "", items or [], task)
    target = open_target(ledger)
    if dry_run:
        return target.show_plan(asked, as_json=json)
    if queue.detach:
        return target.submit(asked, read_queue_options(queue), as_json=json)
    raise typer.Exit(target.run_task(asked, as_json=json))

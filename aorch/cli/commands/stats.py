"""`aorch stats`: statistics of exchanges."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from aorch.cli.exchange_options import SelectedExchanges
from aorch.cli.listing import ListingOptions, print_listing
from aorch.cli.options import LedgerOption, LimitOption

if TYPE_CHECKING:
    from aorch.ledger.exchanges import ExchangeFilter

app = typer.Typer(add_completion=False)

By = StrEnum("By", ["capability", "agent", "session", "caller", "error", "minute", "hour", "day"])

Sort = StrEnum("Sort", ["count", "failed", "p50", "p95", "max", "wait", "cost"])


class StatsListing(ListingOptions):
    """A listing of groups of exchanges."""

    items = "groups"
    known = (
        *("key", "count", "completed", "failed", "rejected", "interrupted", "cancelled", "open"),
        *("p50_ms", "p95_ms", "max_ms", "wait_p50_ms", "wait_p95_ms", "wait_max_ms"),
        *("tokens_in", "tokens_out", "tokens_cached", "cost", "unpriced"),
        *("last_error", "last_error_at", "last_error_id"),
    )
    synonyms: ClassVar[Mapping[str, str]] = dict.fromkeys(By, "key")


class CountedExchanges(SelectedExchanges):
    """Which exchanges count."""

    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only exchanges created at or after TIME: 90s, 2h, today, 2026-01-31T09:00:00Z (default: 24h).",
        ),
    ] = None

    def filter(self) -> "ExchangeFilter":
        """The filter of exchanges. Raises UsageError for an invalid time."""
        from aorch.ledger.exchanges import ExchangeFilter

        return ExchangeFilter(session_id=self.session, agent=self.agent, capability=self.capability, **self.times())


@app.command()
def stats(
    which: CountedExchanges,
    listing: StatsListing,
    by: Annotated[
        By,
        typer.Option(
            "--by",
            metavar="NAME",
            case_sensitive=False,
            help=f"Property by which exchanges are grouped: {', '.join(By)} (default: capability).",
        ),
    ] = By.capability,
    sort: Annotated[
        Sort | None,
        typer.Option(
            "--sort",
            metavar="FIGURE",
            case_sensitive=False,
            help=f"Figure by which groups are sorted, the largest first: {', '.join(each.value for each in Sort)} "
            "(default: count; minutes, hours and days in order).",
        ),
    ] = None,
    limit: LimitOption = 50,
    ledger: LedgerOption = None,
) -> None:
    """Count exchanges, with durations, waits in the queue, tokens and cost.

    Durations (p50, p95 and max) are those of tasks that an agent executed, without the time in the queue. `failed`
    includes rejected and interrupted tasks. The cost needs a table [prices] in aorch.toml.

    In a pipe: tab-separated key, count, failed, p50, p95, max, wait (p95), tokens in and out, and cost; with --by error: error,
    count, time and ID of the newest example, and its whole error.

    \b
    Examples:
      aorch stats
      aorch stats --sort p95 --by agent
      aorch stats --by error --since 7d
      aorch stats --by hour --capability echo --json
    """
    from aorch.cli.render.stats_view import show_stats
    from aorch.cli.service_source import open_service

    with open_service(ledger) as service:
        found = service.statistics(by, which.filter(), limit, sort and sort.value)
    window = " (24 hours; --since changes it)" if which.since is None else ""
    groups = found.pop("groups")
    print_listing(listing, groups, lambda rows: show_stats({**found, "groups": list(rows), "window": window}), **found)

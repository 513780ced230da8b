"""The summary of `aorch status` and `GET /v1/status`: the ledger, the agents and the services."""

import asyncio
from collections import Counter
from typing import Any

from aorch.config.settings import Config
from aorch.ledger.database import statements
from aorch.ledger.outbox import deliveries_of
from aorch.ledger.reader import Reader
from aorch.ledger.record import COMPLETED, INTERRUPTED
from aorch.net.probe import listening


def counts_of(reader: Reader) -> dict[str, Any]:
    """What a summary says about a ledger: `contracts` as Reader.counts has them, and `exchanges` with `total` and `by_status`.

    Raises LedgerError.
    """
    counted: Counter[str] = Counter()
    for status, was_interrupted, count in reader.select(statements.EXCHANGE_STATUS_COUNTS):
        counted[INTERRUPTED if was_interrupted else status] += count
        if was_interrupted:
            counted[status] -= count
    ((total,),) = reader.select(statements.EXCHANGE_COUNT) or [(0,)]
    by_status = {COMPLETED: total - counted.total(), **dict(sorted(counted.items()))}
    return {
        "contracts": reader.counts(),
        "exchanges": {"total": total, "by_status": {name: count for name, count in by_status.items() if count > 0}},
    }


async def summary(
    config: Config, agents: list[dict[str, Any]], counts: dict[str, Any], orchestrator: str = "healthy"
) -> dict[str, Any]:
    """The status of everything.

    `orchestrator` is `healthy` or `degraded`. `agents` are given in their JSON form, and `counts` by counts_of. The summary adds
    `integrations` (whether each service listens) and the paths of the ledger and the configuration.
    """
    trace, memagent, deliveries = await asyncio.gather(
        _listens(config.trace_url), _listens(config.memagent_url), asyncio.to_thread(deliveries_of, config.ledger)
    )
    return {
        "orchestrator": orchestrator,
        "ledger": str(config.ledger),
        "configuration": str(config.file) if config.file else None,
        "agents": {
            "total": len(agents),
            "by_status": dict(Counter(agent["status"] for agent in agents)),
            "registered": agents,
        },
        **counts,
        "integrations": {
            "memagent": memagent,
            "trace": trace,
            "all_healthy": (memagent or not config.memagent_url) and (trace or not config.trace_url),
            "details": {
                "memagent": {"url": config.memagent_url or None, "listening": memagent},
                "trace": {"url": config.trace_url or None, "listening": trace, **deliveries},
            },
        },
    }


async def _listens(url: str) -> bool:
    """Whether a service listens at `url`; False if the service is switched off."""
    return bool(url) and await listening(url)

"""The summary of `aorch status` and `GET /v1/status`: the ledger, the agents and the services."""

import asyncio
from collections import Counter
from typing import Any

from aorch.config.settings import Config
from aorch.ledger.outbox import deliveries_of
from aorch.net.probe import listening


async def summary(
    config: Config, agents: list[dict[str, Any]], contracts: dict[str, Any], orchestrator: str = "healthy"
) -> dict[str, Any]:
    """The status of everything.

    `orchestrator` is `healthy` or `degraded`. `agents` are given in their JSON form and `contracts` as counted by a Reader. The
    summary adds `integrations` (whether each service listens) and the paths of the ledger and the configuration.
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
        "contracts": contracts,
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

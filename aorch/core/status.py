"""The sum of it: ledger, agents and services."""

import asyncio
from collections import Counter
from typing import Any

from aorch.config import Config
from aorch.services.reach import listening


async def summary(config: Config, agents: list[dict[str, Any]], contracts: dict[str, Any]) -> dict[str, Any]:
    """The seed document's status object: `orchestrator`, `agents` (from their JSON forms), `contracts` (as counted by a
    Reader), `integrations`.
    """
    trace, memagent = await asyncio.gather(listening(config.trace_url), listening(config.memagent_url))
    return {
        "orchestrator": {"ledger": str(config.ledger), "configuration": str(config.file) if config.file else None},
        "agents": {
            "total": len(agents),
            "by_status": dict(Counter(agent["status"] for agent in agents)),
            "registered": [agent["agent_id"] for agent in agents],
        },
        "contracts": contracts,
        "integrations": {
            "memagent": {"url": config.memagent_url, "listening": memagent},
            "trace": {"url": config.trace_url, "listening": trace},
            "all_healthy": memagent and trace,
        },
    }

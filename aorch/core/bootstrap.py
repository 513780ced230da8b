"""The composition root: from a Config to the objects that do the work. Nothing else builds them."""

from aorch.agents import loading
from aorch.agents.example import ExampleAgent
from aorch.agents.registry import Registry
from aorch.config import Config
from aorch.core.exchange import Exchanges
from aorch.ledger.store import Ledger


def registry(config: Config) -> Registry:
    """The example agent, the configured agents in the file's order, then those that installed packages offer."""
    return Registry([ExampleAgent(), *loading.configured(config), *loading.installed()])


def exchanges(config: Config, agents: Registry) -> Exchanges:
    """`agents` over the configured ledger, which is opened: made, upgraded and recovered where that is due."""
    return Exchanges(agents, Ledger(config.ledger), config.timeout_s, config.max_depth, config.parent_id)

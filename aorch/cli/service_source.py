"""Opens what shows agents, status and statistics: this machine and its ledger, or a server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from aorch.cli.ledger_source import chosen_server, warn_of_version
from aorch.cli.options import SHOWS_EMPTY, warn_of_missing
from aorch.cli.streams import set_aside

if TYPE_CHECKING:
    from pathlib import Path

    from aorch.agents.registry import Registry
    from aorch.config.ledger_location import LedgerLocation
    from aorch.config.settings import Config
    from aorch.ledger.exchanges import ExchangeFilter


class Service(Protocol):
    """Agents, status and statistics, in their JSON forms."""

    def agents(self) -> list[dict[str, Any]]:
        """Each agent."""
        ...

    def agent(self, agent_id: str) -> dict[str, Any]:
        """One agent. Raises NotFound."""
        ...

    def status(self) -> dict[str, Any]:
        """The status of everything."""
        ...

    def statistics(self, by: str, which: "ExchangeFilter", limit: int, sort: str | None) -> dict[str, Any]:
        """Groups of exchanges with their figures."""
        ...


@contextmanager
def open_service(ledger: str | None) -> Iterator[Service]:
    """The service that the options and the environment choose."""
    from aorch.config import config_file

    text_in_use = cache(config_file.text_in_use)
    server = chosen_server(ledger, text_in_use)
    if server is None:
        yield _LocalService(ledger, text_in_use)
        return
    from aorch.client.remote_service import RemoteService

    with RemoteService(server, warn_of_version) as remote:
        yield remote


def local_agents(config: "Config") -> "Registry":
    """The agents of this machine. While they are loaded, standard output is set aside, because modules may print on import."""
    from aorch import bootstrap
    from aorch.cli.render.console import warn
    from aorch.errors import LedgerError

    set_aside()
    try:
        return bootstrap.all_agents(config)
    except LedgerError as error:
        warn(f"registered agents are not shown: {error}")
        return bootstrap.registry(config)


def _offered(ledger: "LedgerLocation") -> list[dict[str, Any]]:
    """The agents that workers over HTTP offer to the servers of the ledger."""
    from aorch.errors import LedgerError
    from aorch.ledger.offered_agents import offered_agents
    from aorch.ledger.reader import Reader

    try:
        with Reader(ledger) as reader:
            return offered_agents(reader.select)
    except LedgerError:  # `local_agents` has warned of it
        return []


class _LocalService:
    def __init__(self, ledger: str | None, text_in_use: "Callable[[], tuple[Path | None, str]]") -> None:
        self._ledger, self._text_in_use = ledger, text_in_use

    def agents(self) -> list[dict[str, Any]]:
        config = self._config()
        found = [registered.as_dict() for registered in local_agents(config)]
        known = {each["agent_id"] for each in found}
        return found + [each for each in _offered(config.ledger) if each["agent_id"] not in known]

    def agent(self, agent_id: str) -> dict[str, Any]:
        config = self._config()
        agents = local_agents(config)
        if agents.find(agent_id) is None:
            for each in _offered(config.ledger):
                if each["agent_id"] == agent_id:
                    return each
        return agents.get(agent_id).as_dict()

    def status(self) -> dict[str, Any]:
        import asyncio

        from aorch import bootstrap
        from aorch.engine.recovery import recover
        from aorch.govern.status_summary import counts_of, summary
        from aorch.ledger.reader import Reader

        config = self._config()
        warn_of_missing(config.ledger, self._ledger, SHOWS_EMPTY)
        with Reader(recover(config.ledger)) as reader:
            counts = counts_of(reader)
        set_aside()
        agents = [registered.as_dict() for registered in bootstrap.all_agents(config)]
        return asyncio.run(summary(config, agents, counts))

    def statistics(self, by: str, which: "ExchangeFilter", limit: int, sort: str | None) -> dict[str, Any]:
        from aorch.engine.recovery import recover
        from aorch.govern.statistics import statistics
        from aorch.ledger.reader import Reader

        config = self._config()
        warn_of_missing(config.ledger, self._ledger, SHOWS_EMPTY)
        with Reader(recover(config.ledger)) as reader:
            return statistics(reader, by, which, config.prices, limit=limit, sort=sort)

    def _config(self) -> "Config":
        from aorch.config import settings

        return settings.load(self._ledger, self._text_in_use)

"""Waits for tasks on a ledger of this machine, and cancels them, whatever process runs them."""

import asyncio
from typing import TYPE_CHECKING

from aorch.cli.streams import set_aside

if TYPE_CHECKING:
    from aorch.config.settings import Config
    from aorch.engine.task import Answer
    from aorch.errors import AorchError


def wait_for_answers(config: "Config", parts: list[str], timeout_s: float | None) -> "list[Answer]":
    """The answers to these REQUESTs, in that order. Raises NotFound, Conflict, and WaitedTooLong after `timeout_s` seconds."""
    from aorch.engine.wait_for_all import wait_for_all
    from aorch.ledger.reader import Reader

    with Reader(config.ledger) as reader:
        whole_ids = [reader.find(part).contract_id for part in parts]
    return asyncio.run(wait_for_all(config.ledger, whole_ids, timeout_s))


def cancel_all(config: "Config", parts: list[str]) -> "tuple[list[tuple[str, str]], list[AorchError]]":
    """Cancel each of these REQUESTs if possible.

    Returns (id, status) of the cancelled ones and the errors of the others. Raises LedgerError.
    """
    set_aside()
    return asyncio.run(_cancel_all(config, parts))


async def _cancel_all(config: "Config", parts: list[str]) -> "tuple[list[tuple[str, str]], list[AorchError]]":
    """Cancel each REQUEST if possible.

    Returns (id, status) of the cancelled ones and the errors of the others. Raises LedgerError.
    """
    from aorch.errors import AorchError, LedgerError
    from aorch.ledger.reader import Reader
    from aorch.orchestrator import Orchestrator

    cancelled: list[tuple[str, str]] = []
    errors: list[AorchError] = []
    with Reader(config.ledger) as reader:
        async with Orchestrator(config=config) as orchestrator:
            for part in parts:
                try:
                    contract_id = reader.find(part).contract_id
                    status = await orchestrator.cancel(contract_id, by="aorch contracts cancel")
                    cancelled.append((contract_id, status))
                except LedgerError:
                    raise
                except AorchError as error:
                    errors.append(error)
    return cancelled, errors

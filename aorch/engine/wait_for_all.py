"""Waits for the answers of several REQUESTs that other processes run."""

import asyncio

from aorch.config.ledger_location import LedgerLocation
from aorch.engine.recovery import recover
from aorch.engine.task import Answer
from aorch.engine.waiter import ResponseWaiter
from aorch.errors import WaitedTooLong
from aorch.process.threads import in_thread

RECOVER_S = 0.5
"""How often tasks of dead processes are searched for."""


def waited_too_long(contract_ids: list[str], timeout_s: float) -> WaitedTooLong:
    """The error for REQUESTs without an answer after `timeout_s`."""
    return WaitedTooLong(
        f"no answer within {timeout_s:g} s: {', '.join(contract_ids)}",
        "Check that an `aorch worker` runs, and that an agent in its aorch.toml has the capability.",
    )


async def wait_for_all(path: LedgerLocation, contract_ids: list[str], timeout_s: float | None) -> list[Answer]:
    """The answers to those REQUESTs, in that order. Raises NotFound, Conflict, and WaitedTooLong after `timeout_s` seconds.

    Opens the ledger to answer the tasks of dead processes, so that a task whose process died does not wait forever.
    """
    waiting = ResponseWaiter(path)
    asked = [asyncio.create_task(waiting.wait(contract_id)) for contract_id in contract_ids]
    try:
        answered, left = await asyncio.wait(asked, timeout=0)  # an answer that exists needs no time
        _ = [task.result() for task in answered]  # raises if one will never be answered
        async with asyncio.timeout(timeout_s if left else None):
            while left:
                await in_thread(recover, path)
                _, left = await asyncio.wait(asked, timeout=RECOVER_S, return_when=asyncio.FIRST_EXCEPTION)
                _ = [task.result() for task in asked if task not in left]
    except TimeoutError:
        missing = [one for one, task in zip(contract_ids, asked, strict=True) if not task.done()]
        raise waited_too_long(missing, timeout_s or 0) from None
    finally:
        for task in asked:
            task.cancel()
        waiting.close()
    return [answer for task in asked if (answer := task.result()) is not None]

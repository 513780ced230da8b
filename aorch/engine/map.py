"""Maps one capability over many items, a limited number at a time. Answers are yielded as they arrive."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from aorch.engine.task import AnswerDict, MappedAnswerDict

Item = dict[str, Any]
Items = Iterable[Item] | AsyncIterable[Item]

_NO_MORE: Any = object()


async def mapped(
    ask: Callable[[Item], Awaitable[AnswerDict]], items: Items, limit: int
) -> AsyncGenerator[MappedAnswerDict, None]:
    """Yield the answer of `ask` to each of `items` as it arrives, with the `item` and its `index` (from 0). Reads at most
    `limit` items ahead of the answers that were yielded. If this is closed early, or `ask` or `items` raises, running calls
    are cancelled and awaited; the error is raised.
    """
    taking = items.__aiter__() if isinstance(items, AsyncIterable) else _each(items)
    ended: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
    running: dict[asyncio.Task[Any], tuple[int, Item]] = {}
    next_item: asyncio.Task[Any] | None = None
    index, exhausted = 0, False
    try:
        while not exhausted or running:
            if next_item is None and not exhausted and len(running) < limit:
                next_item = _started(anext(taking, _NO_MORE), ended)
            done = await ended.get()
            if done is not next_item:
                number, item = running.pop(done)
                answer: AnswerDict = done.result()
                yield {**answer, "item": item, "index": number}
                continue
            next_item, item = None, done.result()
            exhausted = item is _NO_MORE
            if not exhausted:
                running[_started(ask(item), ended)] = (index, item)
                index += 1
    finally:
        left = [*running, *([next_item] if next_item else [])]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _started(work: Awaitable[Any], ended: "asyncio.Queue[asyncio.Task[Any]]") -> "asyncio.Task[Any]":
    async def awaited() -> Any:
        return await work

    task = asyncio.create_task(awaited())
    task.add_done_callback(ended.put_nowait)
    return task


async def _each(items: Iterable[Item]) -> AsyncIterator[Item]:
    for item in items:
        yield item

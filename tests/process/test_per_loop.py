"""A value for each event loop: made once, and dropped when its loop is closed."""

import asyncio

from aorch.process.per_loop import PerLoop


def test_each_loop_has_one_value_until_it_is_closed() -> None:
    made: list[asyncio.AbstractEventLoop] = []
    values = PerLoop(lambda loop: made.append(loop) or len(made))  # type: ignore[func-returns-value]  # append returns None

    async def value() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        return values[loop], values[loop]

    assert asyncio.run(value()) == (1, 1)
    assert asyncio.run(value()) == (2, 2)
    assert list(values) == made[1:], "the value of the first loop was dropped"

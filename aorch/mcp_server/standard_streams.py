"""Standard input and output as the SDK `mcp` reads and writes them, without threads that delay the end of the process."""

import asyncio
import contextlib
import threading
from typing import BinaryIO

from aorch.process.threads import in_thread


class Lines:
    """The lines of `stream`, read in a daemon thread: a read of a terminal or a pipe cannot be cancelled."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._loop, self._stream = asyncio.get_running_loop(), stream
        threading.Thread(target=self._read, name="aorch-mcp-input", daemon=True).start()

    def __aiter__(self) -> "Lines":
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        if not line:
            raise StopAsyncIteration
        return line.decode("utf-8", "replace")

    def _read(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            line = b" "
            while line:
                line = self._stream.readline()
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


class Output:
    """Writes texts to `stream`. After the reader has closed it, they are dropped."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._is_closed = stream, False

    async def write(self, text: str) -> None:
        """Write all of `text`."""
        if not self._is_closed:
            await in_thread(self._write, text.encode())

    async def flush(self) -> None:
        """Nothing is buffered."""

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
            self._stream.flush()
        except BrokenPipeError:
            self._is_closed = True

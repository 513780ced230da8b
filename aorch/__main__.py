"""`aorch` and `python -m aorch`."""

import gc
import signal
import sys

COLLECT_AFTER = 50_000
"""Garbage is collected after this many new objects, as in `aorch serve`. Start-up creates many, and almost none become
garbage: with Python's threshold of 700, collections take a tenth of its time.
"""
FRAME_SLOTS = 3_200
"""The size of the frame in which the process runs. CPython keeps frames in pieces of 16 KiB, and maps and unmaps the next one
whenever calls cross its beginning, which a server otherwise does for every request. A frame of this size gets a piece of
64 KiB for itself and all the calls above it.
"""


def main() -> None:
    """The console script."""
    gc.set_threshold(COLLECT_AFTER)
    # During start-up, which only imports, Ctrl-C ends the process at once, without a traceback. Commands replace this
    # handler.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from aorch.cli import streams  # noqa: PLC0415  see above
    from aorch.cli.main import app  # noqa: PLC0415  see above

    streams.prepare()
    try:
        app(prog_name="aorch")
    finally:
        if "aorch.agents.python_agent" not in sys.modules:  # its objects may want to be finalized, such as open files
            gc.freeze()  # the end of the process takes a tenth less time if it looks for no garbage


main.__code__ = main.__code__.replace(co_stacksize=FRAME_SLOTS)

if __name__ == "__main__":
    main()

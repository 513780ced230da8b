"""A forked child of a test's process."""

import os
import traceback
from collections.abc import Callable


def in_child(work: Callable[[], None]) -> int:
    """The exit code of a forked child that runs `work`: 0, or 1 if it raises. The child never returns to the test runner."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  whatever it is, this process must end
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

"""Objects that a forked child must not use: its parent's locks, database connections, and threads that do not exist in the
child.
"""

import os
import threading
from typing import Protocol
from weakref import WeakSet


class OfOneProcess(Protocol):
    """Something that a forked child cannot use."""

    def forget(self) -> None:
        """Called in the child, by its only thread.

        After that the object behaves as closed, and leaves the parent's resources alone.
        """
        ...


no_fork = threading.RLock()
"""Hold this lock while an object is created and passed to `forget_in_child`, so that no fork happens in between."""
_known: "WeakSet[OfOneProcess]" = WeakSet()
forget_in_child = _known.add
"""Calls `forget` of the given object in each child that this process forks from now on. Does not keep the object alive."""


def _after_in_child() -> None:
    for thing in list(_known):
        thing.forget()
    _known.clear()
    no_fork.release()


os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_after_in_child)

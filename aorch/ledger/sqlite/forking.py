"""What a forked child must not go on with: locks of its parent, connections to SQLite files, threads that it has not."""

import os
import threading
from typing import Protocol
from weakref import WeakSet


class OfOneProcess(Protocol):
    """Something that a forked child cannot use."""

    def forget(self) -> None:
        """Called in the child, by its only thread: be as closed, and leave the parent's alone."""
        ...


no_fork = threading.RLock()
"""Held while something is made that is `forget_in_child`'s next: no fork comes between the two."""
_known: "WeakSet[OfOneProcess]" = WeakSet()


def forget_in_child(thing: OfOneProcess) -> None:
    """Call its `forget` in each child that this process forks from now on, for as long as `thing` is referred to."""
    with no_fork:
        _known.add(thing)


def _after_in_child() -> None:
    for thing in list(_known):
        thing.forget()
    _known.clear()
    no_fork.release()


os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_after_in_child)

"""What a forked child must not use: its parent's locks, its connections to a database, threads that the child does not have."""

import os
import threading
from typing import Protocol
from weakref import WeakSet


class OfOneProcess(Protocol):
    """Something that a forked child cannot use."""

    def forget(self) -> None:
        """Called in the child, by its only thread: behave as closed, and leave what is the parent's alone."""
        ...


no_fork = threading.RLock()
"""Held from the creation of something until `forget_in_child` knows it, so that no fork comes between the two."""
_known: "WeakSet[OfOneProcess]" = WeakSet()


def forget_in_child(thing: OfOneProcess) -> None:
    """Call `thing.forget` in each child that this process forks from now on, as long as `thing` is referred to."""
    with no_fork:
        _known.add(thing)


def _after_in_child() -> None:
    for thing in list(_known):
        thing.forget()
    _known.clear()
    no_fork.release()


os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_after_in_child)

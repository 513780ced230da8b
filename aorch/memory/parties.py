"""Who takes part in a session: the person or agent that began it, and the agents that were called in it."""

from collections.abc import Iterable


class Parties:
    """Notes the parties of each REQUEST, oldest first. `called` are the agents that were called before."""

    def __init__(self, called: Iterable[str] = ()) -> None:
        self.starter: str | None = None
        self._called = set(called)

    def add_request(self, sender: str, agent: str, *, has_parent: bool) -> bool:
        """Note a REQUEST. Return whether it is outermost: it has no parent, is not to the party that began the session, and its
        sender was not called before.

        The party that began the session remains the caller if an agent asks back.
        """
        is_outermost = not has_parent and sender not in self._called and agent != self.starter
        if is_outermost and self.starter is None:
            self.starter = sender
        if agent != self.starter:
            self._called.add(agent)
        return is_outermost

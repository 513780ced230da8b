"""The next step after a fault of a remote agent: it depends on who can change the agent."""

from typing import NamedTuple


class AgentHints(NamedTuple):
    """What to do if the agent does not accept the token, if its address is wrong (the name of its field), and if its answers are
    too long. `has_credential`: a registered agent got a token. None: the agent is configured in aorch.toml.
    """

    token: str
    address: str
    length: str
    has_credential: bool | None = None


CONFIGURED = AgentHints(
    "Set token_env of the agent to the variable with its token, or set sign.",
    "url of the agent",
    "Raise max_output_bytes of the agent, or let it send less.",
)


def of_registered(credential: str, address: str) -> AgentHints:
    """The hints for a registered agent with that credential (empty: none), whose address is in the field `address`."""
    token = (
        f"Check the variable of [credentials.{credential}] in aorch.toml."
        if credential
        else "Register it again with `credential`, the name of a table [credentials.NAME] with its token in aorch.toml."
    )
    return AgentHints(token, f"{address} of its registration", "Let it send less.", bool(credential))

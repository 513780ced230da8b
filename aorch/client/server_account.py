"""Who a client is for a server: what GET /v1/ says about its token."""

from typing import Any, NamedTuple

from aorch.client.connection import ServerConnection
from aorch.client.problem_errors import LOGIN_HINT
from aorch.client.server_address import ServerAddress
from aorch.errors import NotAuthorised, ServiceFailed


class Account(NamedTuple):
    """`name` is that of the token; None if the server needs none. `scopes` are what the caller may do; none for an invalid
    token. `version` is the server's.
    """

    url: str
    name: str | None
    scopes: list[str]
    version: str
    token_required: bool

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return self._asdict()

    def check(self) -> None:
        """Raise NotAuthorised if the token is not valid."""
        if not self.scopes:
            raise NotAuthorised(f"the token is unknown, revoked or expired (server {self.url})", LOGIN_HINT)


async def account_of(address: ServerAddress) -> Account:
    """The account of the token of `address`. Raises the errors of a ServerConnection, and ServiceFailed for another service."""
    async with ServerConnection(address) as connection:
        found = await connection.get("/v1/")
    if not isinstance(found, dict) or found.get("service") != "aorch":
        raise ServiceFailed(f"{address.url} is not a server of aorch", "Check the URL.")
    return Account(address.url, found["caller"], found["scopes"], found["version"], found["token_required"])

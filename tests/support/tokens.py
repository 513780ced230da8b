"""Access tokens for the tests of the server."""

from homes import Home


def token(home: Home, name: str, *arguments: str) -> str:
    """Create a token with `aorch tokens create`, and return it."""
    done = home.aorch("tokens", "create", name, *arguments)
    assert done.code == 0, done.err
    return done.out.strip()


def bearer(secret: str) -> dict[str, str]:
    """The header that sends a token."""
    return {"Authorization": f"Bearer {secret}"}


def new_bearer(home: Home, name: str, *arguments: str) -> dict[str, str]:
    """Create a token, and return the header that sends it."""
    return bearer(token(home, name, *arguments))

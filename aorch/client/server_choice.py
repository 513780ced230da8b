"""The address of the chosen server: its URL, and the token that was stored for it or that the environment has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aorch.client.server_address import ServerAddress, server_url
from aorch.config import config_file, environment, server_logins
from aorch.config.remote_choice import RemoteChoice
from aorch.errors import ConfigInvalid, UsageError


def address_of(choice: RemoteChoice, on_ignored: Callable[[str], None] = lambda _: None) -> ServerAddress:
    """The address of that server. Raises UsageError for an invalid URL or an unknown name, and ConfigInvalid.

    AORCH_TOKEN goes to the server of AORCH_URL, or without AORCH_URL to that of `--server`. Any other server gets only the token
    that `aorch login` stored for it. An aorch.toml that a project may have brought along decides nothing about how a token
    travels: `on_ignored` gets a text that names the keys of it that are not used.
    """
    login = server_logins.find(choice.name)
    if login is None and "://" not in choice.name:
        known = ", ".join(each.name for each in server_logins.logins()) or "none"
        raise UsageError(
            f"{choice.source}: no server is called {choice.name!r}",
            f"Give a URL, or run `aorch login URL --profile {choice.name}`. Known names: {known}.",
        )
    url = server_url(choice.source, choice.name) if login is None else login.url
    login = login or server_logins.find(url) or server_logins.Login("", url)
    token, settings = _token(choice, url, login), choice.settings
    folder = Path() if choice.file is None else choice.file.parent
    routes: dict[str, Any] = {
        "ca_file": settings.ca_file and str(folder / settings.ca_file),
        "proxy": settings.proxy,
        "allow_http": settings.allow_http,
    }
    ignored = [name for name, value in routes.items() if value and value != getattr(login, name)]
    if token and ignored and choice.file is not None and not config_file.is_chosen(choice.file):
        on_ignored(_ignored(ignored, choice.file, url))
        routes = {}
    ca_file = routes.get("ca_file") or login.ca_file
    return ServerAddress(
        url,
        token=token,
        ca_file=Path(ca_file) if ca_file else None,
        proxy=routes.get("proxy") or login.proxy,
        allow_http=routes.get("allow_http") or login.allow_http,
    )


def _ignored(names: list[str], file: Path, url: str) -> str:
    return (
        f"{', '.join(names)} in [remote] of {file} not used for {url}: a token is sent there, and the file may belong to a "
        "project. Use the options of `aorch login`, or `aorch config trust`, if you trust it."
    )


def _token(choice: RemoteChoice, url: str, login: server_logins.Login) -> str:
    given = environment.secret(environment.TOKEN)
    if given and choice.is_explicit and _is_for(url):
        if not environment.fits_header(given):
            raise ConfigInvalid("AORCH_TOKEN contains characters that no token has", "Set it to the token alone.")
        return given
    return server_logins.token_of(login)


def _is_for(url: str) -> bool:
    """Whether AORCH_TOKEN is for the server at `url`."""
    named = environment.get(environment.URL)
    if not named:
        return True
    login = server_logins.find(named)
    return url == (login.url if login else server_url(environment.URL, named))

"""The live page at `/` as files: types, caching, content policy and size; and what /v1/ says about the caller."""

import re

import shared
from homes import Home
from serving import Server, serving

from aorch.server import ui_pages

MOST_BYTES = 180_000

home, server = shared.home, shared.server


def addresses(server: Server) -> list[str]:
    """The files that the page names."""
    return re.findall(r'(?:src|href)="(ui/[^"]*)"', server.get("/").text)


def test_the_page_and_all_that_it_loads_have_at_most_180_kilobytes() -> None:
    sizes = {name: path.stat().st_size for name, path in ui_pages.files().items()}
    assert sum(sizes.values()) + len(ui_pages.page().body) <= MOST_BYTES, sizes


def test_the_page_allows_only_files_of_the_package_and_no_script_made_from_text(server: Server) -> None:
    answer = server.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(rule.strip().split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", answer.text)


def test_browsers_keep_the_files_for_ever_and_ask_for_the_page_each_time(server: Server) -> None:
    page = server.get("/")
    assert page.headers["Cache-Control"] == "no-cache"
    assert server.get("/", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    kinds = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
    assert {address.rpartition("/")[2] for address in addresses(server)} == set(ui_pages.files())
    for address in addresses(server):
        file = server.get(f"/{address}")
        assert file.headers["Content-Type"] == kinds[address.rpartition(".")[2]]
        assert file.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert file.headers["X-Content-Type-Options"] == "nosniff"


def test_every_module_that_a_script_imports_is_served(server: Server) -> None:
    folder = f"/ui/{ui_pages.version()}"
    for name, path in ui_pages.files().items():
        assert server.get(f"{folder}/{name}").status_code == 200
        if path.parent == ui_pages.FOLDER and name.endswith(".js"):
            for imported in re.findall(r'from "\./([^"]+)"', path.read_text()):
                assert imported in ui_pages.files(), (name, imported)


def test_nothing_beside_the_page_is_served(server: Server) -> None:
    for name in ("index.html", "../ui_pages.py", "%2e%2e/ui_pages.py", "", "README.md"):
        assert server.get(f"/ui/{ui_pages.version()}/{name}").status_code == 404


def test_a_server_without_tokens_says_that_its_callers_may_do_everything(server: Server) -> None:
    said = server.get("/v1/").json()
    assert said["token_required"] is False
    assert said["caller"] is None
    assert said["scopes"] == ["admin", "agents", "read", "run", "work"]


def test_a_caller_learns_the_scopes_of_its_token_and_needs_none_for_the_page(own_home: Home) -> None:
    tokens = "a-token-of-the-token-file read name=reader\nanother-token-of-the-file admin name=chief\n"
    own_home.write("tokens", tokens).chmod(0o600)
    with serving(own_home, "--token-file", "tokens") as server:
        assert server.get("/").status_code == 200

        def rights(token: str | None) -> tuple[bool, str | None, list[str]]:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            said = server.get("/v1/", headers=headers).json()
            return said["token_required"], said["caller"], said["scopes"]

        assert rights("a-token-of-the-token-file") == (True, "reader", ["read"])
        assert rights("another-token-of-the-file") == (True, "chief", ["admin", "agents", "read", "run", "work"])
        assert rights("a-token-that-nobody-knows") == (True, None, [])
        assert rights(None) == (True, None, [])

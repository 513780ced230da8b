"""The pages of the documentation, which are part of the package: `aorch help --docs`."""

from collections.abc import Iterator
from pathlib import Path

from aorch.errors import NotFound


def folder() -> Path:
    """The directory of the pages: inside the installed package, next to it in a checkout."""
    package = Path(__file__).parent.parent
    shipped = package / "_docs"
    return shipped if shipped.is_dir() else package.parent / "docs"


def pages() -> Iterator[tuple[str, str]]:
    """The name and the title of each page."""
    for file in sorted(folder().glob("*.md")):
        with file.open(encoding="utf-8") as lines:
            yield file.stem, lines.readline().removeprefix("#").strip()


def text_of(name: str) -> str:
    """The page of that name (`agents`, also written `agents.md` or `docs/agents.md`), as Markdown. Raises NotFound."""
    known = [page for page, _ in pages()]
    stem = name.removeprefix("docs/").removesuffix(".md")
    if stem not in known:
        from aorch.suggestions import did_you_mean

        raise NotFound(
            f"there is no page {name!r} in the documentation",
            f"{did_you_mean(stem, known)}`aorch help --docs` lists the pages.",
        )
    return (folder() / f"{stem}.md").read_text(encoding="utf-8")

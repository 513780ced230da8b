"""Files in the user's cache directory. Losing one costs only the time to write it again."""

from pathlib import Path


def keep(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step, unless the file has it already. Raises OSError."""
    try:
        if path.read_bytes() == content:
            return
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    import tempfile  # noqa: PLC0415  2 ms, only if something changed

    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    try:
        with open(descriptor, "wb") as new:  # noqa: PTH123  a descriptor
            new.write(content)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise

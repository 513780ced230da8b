"""Files in the cache directory."""

from pathlib import Path

import pytest
from file_limits import no_file_can_grow

from aorch.config import cache_file


def test_a_failed_write_leaves_the_earlier_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "names.json"
    cache_file.keep(file, b"before")
    with no_file_can_grow(), pytest.raises(OSError, match="File too large"):
        cache_file.keep(file, b"after")
    assert (file.read_bytes(), list(file.parent.iterdir())) == (b"before", [file])
    cache_file.keep(file, b"after")
    assert (file.read_bytes(), list(file.parent.iterdir())) == (b"after", [file])

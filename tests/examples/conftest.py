"""Fixtures of the tests of `examples/`."""

import shutil

import pytest
from examples_run import REPOSITORY


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """A copy of the repository's folders that the examples need, so that they write nothing into the repository."""
    root = tmp_path_factory.mktemp("clone")
    for folder in ("aorch", "examples"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return root

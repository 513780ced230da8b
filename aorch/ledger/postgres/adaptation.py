"""How values of Python become values of PostgreSQL and back, so that rows look as those of SQLite."""

from functools import cache
from typing import Any

from psycopg import adapters as defaults
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader

from aorch.ledger.postgres.tokens import queries
from aorch.ledger.searchable import Words


class _IntDumper(Dumper):
    """Whole numbers, and truth, as bigint: a type per size would prepare each statement several times."""

    oid = 20

    def dump(self, obj: Any) -> bytes:
        return b"%d" % obj


class _WordsDumper(Dumper):
    """The words of a search, as one tsquery per line."""

    def dump(self, obj: Any) -> bytes:
        return queries(obj.phrases).encode()


class _IntLoader(Loader):
    """Truth as 1 or 0."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data) == b"t")


class _NumericLoader(Loader):
    """A number of any size: a sum of bigint is numeric."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


@cache
def adapters() -> AdaptersMap:
    """The adapters of every connection of aorch."""
    found = AdaptersMap(defaults)
    found.register_dumper(int, _IntDumper)
    found.register_dumper(bool, _IntDumper)
    found.register_dumper(Words, _WordsDumper)
    found.register_loader("bool", _IntLoader)
    found.register_loader("numeric", _NumericLoader)
    return found

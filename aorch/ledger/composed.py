"""SQL that is put together from generated pieces when it is needed."""


class Composed(str):
    """SQL for SQLite that knows its pieces, so that a database with another dialect can put it together from its own."""

    __slots__ = ("pieces",)
    pieces: tuple[str, ...]

    def __new__(cls, *pieces: str) -> "Composed":
        """The pieces one after another; a piece may be Composed itself."""
        composed = super().__new__(cls, "".join(pieces))
        composed.pieces = tuple(part for piece in pieces for part in getattr(piece, "pieces", (piece,)))
        return composed

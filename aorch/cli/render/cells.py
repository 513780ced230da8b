"""Text in the cells of a terminal, in which some characters take two."""


def cut_middle(text: str, limit: int) -> str:
    """`text` in at most `limit` cells. If it is longer, its middle is left out: the ends of generated names differ."""
    if cells(text) <= limit:
        return text
    from rich.cells import set_cell_size

    ending = text[-(limit // 2) :] if text.isascii() and limit > 3 else ""
    return f"{set_cell_size(text, limit - 1 - len(ending))}…{ending}"


def cut(text: str, limit: int) -> str:
    """`text` in at most `limit` cells of a terminal, with an ellipsis if it was cut."""
    from rich.cells import set_cell_size

    return text if cells(text) <= limit else f"{set_cell_size(text, limit - 1)}…"


def cells(text: str) -> int:
    """The width of `text` in cells of a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)

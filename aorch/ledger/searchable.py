"""What a search for text compares, on every database: the text of a contract that is indexed, and the words of a query.

A query is words that the contract must all contain; a word with punctuation in it (`mia_li_3668`) is a phrase, a word that ends
in `*` a prefix. In scripts without spaces a word is found anywhere in the text (bigrams.py).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from aorch import jsonio
from aorch.errors import InvalidJSON, UsageError
from aorch.ledger.bigrams import CATEGORIES, indexed, searched

TOKENIZER = f"unicode61 categories '{CATEGORIES}'"
"""The tokenizer of SQLite's full-text index (https://www.sqlite.org/fts5.html#unicode61_tokenizer)."""


class Phrase(NamedTuple):
    """Words that follow each other in a contract; if `is_beginning`, the last one is only the beginning of a word."""

    text: str
    is_beginning: bool


class Words(str):
    """The words of a query in the language of FTS5 (https://www.sqlite.org/fts5.html#full_text_query_syntax), as `phrases` for
    other databases.

    Each word is quoted, so the only syntax in a user's input is a `*` at the end of a word.
    """

    __slots__ = ("phrases",)
    phrases: tuple[Phrase, ...]

    def __new__(cls, text: str) -> "Words":
        """The words of `text`. Raises UsageError if no word has a letter or a digit."""
        words = [word for word in jsonio.storable_text(text).split() if any(map(str.isalnum, word))]
        if not words:
            raise UsageError(
                f"{text!r} contains no word to search for", "Give words, such as --text 'connection refused'."
            )
        phrases = tuple(_phrase(word) for word in words)
        made = super().__new__(cls, " ".join(map(_quoted, phrases)))
        made.phrases = phrases
        return made


def _phrase(word: str) -> Phrase:
    text, is_beginning = searched(word.removesuffix("*"))
    return Phrase(text, is_beginning or word.endswith("*"))


def _quoted(phrase: Phrase) -> str:
    return '"{}"{}'.format(phrase.text.replace('"', '""'), "*" if phrase.is_beginning else "")


def words_of(payload: str, result: str | None, error: str | None) -> str:
    """The text that is indexed for a contract; `payload` and `result` are JSON text."""
    return "\n".join(_words(payload, result, error))


def _words(payload: str, result: str | None, error: str | None) -> Iterator[str]:
    for text in (payload, result):
        if text is not None:
            try:
                yield from map(indexed, _texts(jsonio.decode(text)))
            except InvalidJSON:  # another program wrote it: index its text as it is
                yield indexed(text)
    if error is not None:
        yield indexed(error)


def _texts(value: Any) -> Iterator[str]:
    """The keys, strings and numbers in a JSON value, as a person reads them, without escapes."""
    for each in jsonio.leaves(value):
        if isinstance(each, str):
            yield each
        elif each is not None and not isinstance(each, bool):
            yield str(each)

"""Ids that increase, and JSON text that loses nothing that JSON has."""

import math
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
import ulid
from hypothesis import example, given
from hypothesis import strategies as st
from waiting import WAIT_S

from aorch import jsonio
from aorch.errors import InvalidJSON
from aorch.ids import Ids, new_id

MOMENTS = st.floats(min_value=0, max_value=2**48 / 1000 - 1)


@given(st.lists(MOMENTS, min_size=1, max_size=50))
@example([1e9, 1e9, 5.0, 0.0, 1e9 + 1])
def test_ids_increase_also_when_the_clock_stands_or_steps_back(moments: list[float]) -> None:
    """Each carries the latest moment that the clock has shown."""
    clock = iter(moments)
    ids = Ids(lambda: next(clock))
    made = [ids.next() for _ in moments]
    assert all(earlier < later for earlier, later in pairwise(made))
    for number, text in enumerate(made):
        parsed = ulid.ULID.from_str(text)
        assert str(parsed) == text
        assert parsed.milliseconds == max(int(moment * 1000) for moment in moments[: number + 1])


def test_an_id_is_a_ulid_of_this_moment() -> None:
    """As python-ulid, the library of the same specification, reads it."""
    before = datetime.now(UTC).timestamp()
    moment = ulid.ULID.from_str(new_id()).datetime.timestamp()
    # an id made in another test of this process, within the same millisecond, may have counted up: never ahead of the clock
    assert int(before * 1000) / 1000 <= moment <= datetime.now(UTC).timestamp()


def test_ids_count_up_past_their_last_four_characters() -> None:
    """While the clock stands."""
    ids = Ids(lambda: 1e9)
    last = ids.next()
    while (following := ids.next())[:22] == last[:22]:
        last = following
    assert int(ulid.ULID.from_str(following)) == int(ulid.ULID.from_str(last)) + 1


def test_ids_increase_across_threads() -> None:
    """None comes twice, each thread's own increase, and those made after all of them are greater."""
    made: list[list[str]] = [[] for _ in range(8)]
    together = threading.Barrier(len(made))

    def make(mine: list[str]) -> None:
        together.wait(WAIT_S)
        mine.extend(new_id() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert all(mine == sorted(mine) for mine in made)
    everything = {text for mine in made for text in mine}
    assert len(everything) == 16_000
    assert new_id() > max(everything)


PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
ANY_TEXT = st.text(st.characters(exclude_categories=[]) | st.sampled_from("\x00\ud800\udfff\\u0"))


def values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """JSON values whose strings and keys are `text`."""
    scalars = st.none() | st.booleans() | st.integers(-(10**60), 10**60) | text
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(scalars | numbers, lambda inner: st.lists(inner) | st.dictionaries(text, inner))


@given(values(PLAIN))
@example({"a text that only looks so": "\\u0000"})
@example([2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**300, -0.0, 5e-324, 1e22, 1.0])
def test_a_value_survives_json_text_exactly(value: Any) -> None:
    """Whole numbers stay whole and of any size; floats stay floats, to the last bit; text stays text."""
    text = jsonio.encode(value)
    assert "\n" not in text
    assert exact(jsonio.decode(text)) == exact(value)
    assert exact(jsonio.decode(text.encode())) == exact(value)


@given(values(ANY_TEXT))
@example(["\x00", {"\ud800": "\udfff\x00"}])
def test_every_value_becomes_text_that_every_database_takes(value: Any) -> None:
    """No U+0000 and no lone surrogate is left, in a string or in a key, and nothing else is changed."""
    text = jsonio.encode(value)
    text.encode("utf-8")
    assert exact(jsonio.decode(text)) == exact(stored(value))


@given(ANY_TEXT)
@example("\ud83d\ude00")
def test_storable_text_replaces_only_what_no_database_takes(text: str) -> None:
    """And does so once: what is storable stays as it is. Two surrogates that make a pair are its character."""
    storable = jsonio.storable_text(text)
    assert "\x00" not in storable
    assert jsonio.storable_text(storable) == storable
    assert storable == stored(text)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_becomes_null(number: float) -> None:
    """RFC 8259, section 6."""
    assert jsonio.encode({"a": [number]}) == '{"a":[null]}'


@dataclass(frozen=True)
class Holder:
    """What an agent may answer with."""

    held: Any


def circle() -> list[Any]:
    """A list that holds itself."""
    around: list[Any] = []
    around.append(around)
    return around


@pytest.mark.parametrize("first", ["", "\x00", "\ud800"], ids=ascii)
@pytest.mark.parametrize(
    "value",
    [object(), print, 1j, circle(), {(1, 2): 3}],
    ids=["object", "function", "complex number", "circle", "tuple as key"],
)
def test_what_has_no_json_form_is_refused_in_words(first: str, value: Any) -> None:
    """Whatever text stands before it."""
    with pytest.raises(InvalidJSON, match="no JSON form"):
        jsonio.encode([first, value])


@pytest.mark.parametrize("value", [{"\ud800"}, ("\ud800",), Holder("\ud800"), Holder({"\ud800": 1})], ids=ascii)
def test_text_inside_what_msgspec_takes_for_json_is_made_storable_too(value: Any) -> None:
    """Sets, tuples and dataclasses, which an agent may answer with."""
    text = jsonio.encode([value])
    text.encode("utf-8")
    assert "�" in text


def test_half_a_surrogate_pair_is_the_replacement_character() -> None:
    assert jsonio.decode(r'["\ud83d", "\ude00\ud83d\ude00", "\\ud83d", "\ud83d\u0041"]') == [
        "\ufffd",
        "\ufffd😀",
        r"\ud83d",
        "\ufffdA",
    ]
    assert jsonio.decode(rb'"\uD83D"') == "\ufffd"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a":1}x',
        "[1,]",
        "{'a':1}",
        "NaN",
        '"\x01"',
        "01",
        "1e999",
        "[" * 100_000,
        "1" * 5000,
        b'"\xff"',
    ],
    ids=lambda text: repr(text[:12]),
)
def test_broken_json_is_refused_in_words(text: str | bytes) -> None:
    """RFC 8259 and no more, and never an error that is not ours."""
    with pytest.raises(InvalidJSON, match="not JSON: "):
        jsonio.decode(text)


def exact(value: Any) -> Any:
    """`value` so that == also tells 1 from 1.0 and from True, and 0.0 from -0.0; keys in order."""
    if isinstance(value, dict):
        return [(key, exact(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [exact(item) for item in value]
    return repr(value)


def stored(value: Any) -> Any:
    """`value` with U+0000 and lone surrogates replaced, as a reader of the Unicode standard would: character by character."""
    if isinstance(value, dict):
        return {stored(key): stored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [stored(item) for item in value]
    return _replaced(value) if isinstance(value, str) else value


def _replaced(text: str) -> str:
    made, position = "", 0
    while position < len(text):
        high, low = text[position], text[position + 1 : position + 2]
        if "\ud800" <= high <= "\udbff" and "\udc00" <= low <= "\udfff":
            made += chr(0x10000 + (ord(high) - 0xD800) * 0x400 + ord(low) - 0xDC00)
            position += 2
        else:
            made += "\ufffd" if high == "\x00" or "\ud800" <= high <= "\udfff" else high
            position += 1
    return made

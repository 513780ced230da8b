"""`[prices.MODEL]`: what the tokens of a model cost."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

PER_TOKENS = 1_000_000
"""The number of tokens for which a price is given."""
_Price = Annotated[float, Meta(ge=0)]


class ModelPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[prices."MODEL"]`: the price of a million tokens, in any one currency.

    `input` is for tokens of the prompt, `output` for tokens of the answer, and `cached` for tokens of the prompt that were read
    from a cache. MODEL is the name that the model reports; a `*` at its end matches any end.
    """

    input: _Price
    output: _Price
    cached: _Price | None = None


def price_of(prices: Mapping[str, ModelPrice], model: str) -> ModelPrice | None:
    """The price of that model: by its own name, otherwise by the longest name with a `*` that matches. None if there is none."""
    if (own := prices.get(model)) is not None:
        return own
    matching = [name for name in prices if name.endswith("*") and model.startswith(name[:-1])]
    return prices[max(matching, key=len)] if matching else None


def cost_of(price: ModelPrice, tokens_in: int, tokens_out: int, tokens_cached: int | None) -> float | None:
    """The cost of an exchange; None if tokens were read from a cache and their price is not known.

    `tokens_in` includes `tokens_cached`. If the model did not report cached tokens (None), all count at the price of `input`.
    """
    cached = tokens_cached or 0
    if cached and price.cached is None:
        return None
    whole = (tokens_in - cached) * price.input + cached * (price.cached or 0.0) + tokens_out * price.output
    return whole / PER_TOKENS

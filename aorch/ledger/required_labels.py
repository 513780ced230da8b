"""The labels that a queued REQUEST requires of its agent, as text in the column `required_labels`: JSON with sorted names.

Equal requirements have equal texts, so that the queue finds the first REQUEST of each in its index. `metadata.queue.require` has
the labels as the caller gave them.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from aorch import jsonio


class Waiting(NamedTuple):
    """How many REQUESTs (`number`) wait for the capability, by one agent (None: any), with these labels."""

    capability: str
    agent_id: str | None
    labels: Mapping[str, str]
    number: int


def required_text(labels: Mapping[str, str]) -> str | None:
    """The labels as text; None if there are none."""
    return jsonio.encode(dict(sorted(labels.items()))) if labels else None


@lru_cache(maxsize=256)
def labels_in(text: str | None) -> Mapping[str, str]:
    """The labels in that text."""
    labels: dict[str, Any] = jsonio.decode(text) if text is not None else {}
    return MappingProxyType(labels)


def in_words(labels: Mapping[str, str]) -> str:
    """The labels for messages, for example `gpu=yes, site=berlin`."""
    return ", ".join(f"{name}={value}" for name, value in labels.items())

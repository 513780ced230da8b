"""What makes two calls equal, or two failures: their arguments, or the most important line of the error."""

from itertools import count
from typing import Any

import msgspec

from aorch import jsonio
from aorch.memory import contract_content, safe_text
from aorch.memory.contract_content import Contract
from aorch.memory.local.error_lines import LONGEST_ERROR, telling_lines

FailureKind = tuple[str, str, bool]
"""The capability, the most important line of the error, and whether it was cancelled."""
_unlike = count(-1, -1)
_encoder = msgspec.json.Encoder(order="sorted")


def digest(payload: Any) -> int:
    """A number that is the same for equal arguments, within this process."""
    try:
        return hash(_encoder.encode(payload))
    except (TypeError, ValueError, RecursionError):  # nested too deeply for the encoder: not equal to any other value
        return next(_unlike)


def failure_kind(capability: str, contract: Contract) -> tuple[FailureKind, list[tuple[str, ...]]]:
    """The key under which equal failures are counted, and the lines that describe what happened."""
    error = contract.get("error") or contract_content.speech(contract.get("result")) or contract.get("status")
    lines = [_clipped(pieces) for pieces in telling_lines(error if isinstance(error, str) else jsonio.encode(error))]
    return (capability, " ".join(lines[-1]) if lines else "", contract.get("status") == "cancelled"), lines


def _clipped(pieces: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(safe_text.clip(piece, LONGEST_ERROR) for piece in pieces[:6])
